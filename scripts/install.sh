#!/usr/bin/env bash
# Makes a virtual environment and installs Headrace into it, editable, with all extras and the development tools.
#
#   scripts/install.sh .venv
#
# PYTHON says which Python; otherwise the first of python3, python3.13, python3.12, python3.11 that is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

fail() {
    echo "headrace: $*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        if new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    fail "needs Python 3.11 or newer; install one, or name it: make install PYTHON=/path/to/python3.12"
}

# Debian ships `venv` without `ensurepip`, which is in a package of its own.
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

install_venv() {
    local package
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null || fail "$1 has no module venv or ensurepip; install it and run this again"
    [ "$(id -u)" = 0 ] || fail "$1 has no module venv; run this first: sudo apt-get install $package"
    echo "headrace: installing $package" >&2
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
}

python=$(find_python)
has_venv "$python" || install_venv "$python"
# An environment made of a Python that has gone, or whose making was interrupted, is made anew.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
echo "headrace: installing into $venv ($("$venv/bin/python" --version)); the first time takes a minute or two" >&2
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
