"""The command line: `headrace --help`."""

from __future__ import annotations

import click

from headrace.core.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="headrace")
def main() -> None:
    """Live context for AI apps: fresh, validated, dated values in every request."""
