#!/usr/bin/env bash
# Installs the Debian packages that tests use. Without root it says once, loudly, what is missing: the tests that need
# it are then skipped, except when CI is set, where nothing is skipped.
set -euo pipefail

# program:package
needed=(
    curl:curl
    postgres:postgresql
)

# Debian keeps PostgreSQL's server beside the path, one folder for each version.
present() { command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; }

missing=()
for pair in "${needed[@]}"; do
    present "${pair%%:*}" || missing+=("${pair##*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "headrace: installing ${missing[*]} for the tests" >&2
    # Tests start servers of their own; the package should not start one.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
    echo "!!! headrace: SOME TESTS WILL BE SKIPPED. To run them: sudo apt-get install ${missing[*]} !!!" >&2
fi
