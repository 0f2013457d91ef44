"""The command line: `headrace --help`. One file per command; this one puts them together."""

from __future__ import annotations

import click

from headrace.cli.audit import audit
from headrace.cli.boundary import Boundary, debuggable
from headrace.cli.conformance import conformance
from headrace.cli.contract import contract
from headrace.cli.demo import demo
from headrace.cli.dev import dev
from headrace.cli.doctor import doctor
from headrace.cli.explain import explain
from headrace.cli.freshness import freshness
from headrace.cli.key import key
from headrace.cli.mcp import mcp
from headrace.cli.mock_llm import mock_llm
from headrace.cli.push import push
from headrace.cli.quarantine import quarantine
from headrace.cli.read import read
from headrace.cli.route import route
from headrace.cli.serve import serve
from headrace.cli.simulate import simulate
from headrace.cli.source import source
from headrace.cli.store import store
from headrace.cli.version import version
from headrace.core.version import VERSION

COMMANDS = (
    demo,
    dev,
    serve,
    explain,
    doctor,
    push,
    read,
    freshness,
    route,
    quarantine,
    contract,
    audit,
    source,
    simulate,
    key,
    mock_llm,
    conformance,
    store,
    mcp,
    version,
)
"""In the order in which a new user meets them."""


class Ordered(Boundary):
    """Lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(self.commands)


@click.group(cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="headrace", message="%(prog)s %(version)s")
def main() -> None:
    """Live context for AI apps: from a change at its source to a fresh, dated value in a request.

    \b
    Begin with:
      headrace demo              see what stale context costs, in a simulated city
      headrace dev app.py        run your own app, and reload it when the file changes
      headrace explain app.py    see how each table, rollup and view is computed

    Commands that speak to a running server find it at HEADRACE_URL, or at http://127.0.0.1:8787.
    """


for _command in COMMANDS:
    main.add_command(_command)
debuggable(main)
