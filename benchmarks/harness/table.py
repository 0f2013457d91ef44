"""The printed table: every figure beside its target, its peer and whether it is met."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from harness.figures import Figure, Result
from harness.machine import Machine


def show(results: list[Result], machine: Machine, *, quick: bool) -> None:
    """Print all results."""
    console = Console() if sys.stdout.isatty() else Console(width=140)
    table = Table(title=_title(machine, quick=quick), title_justify="left", caption_justify="left")
    for heading in ("benchmark", "figure"):
        table.add_column(heading, overflow="fold")
    for heading in ("measured", "target", "peer", "ratio", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        for number, figure in enumerate(result.figures):
            table.add_row(result.benchmark if number == 0 else "", *_cells(figure))
        table.add_section()
    console.print(table)
    for result in results:
        for note in result.notes:
            console.print(f"{result.benchmark}: {note}", highlight=False, markup=False)


def number(value: float) -> str:
    """A number as people read it: 163,412 or 0.0442."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _title(machine: Machine, *, quick: bool) -> str:
    text = (
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}, fsync {machine.fsync_ms} ms"
    )
    return text + ("; QUICK sizes: not for quoting" if quick else "")


def _cells(figure: Figure) -> list[str]:
    target = ""
    if figure.target is not None:
        target = ("≥ " if figure.better == "more" else "≤ ") + number(figure.target)
    peer = "" if figure.peer is None else f"{number(figure.peer)} {figure.peer_name}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
    verdict = {None: "", True: "[green]met[/]", False: "[red]MISSED[/]"}[figure.met]
    return [figure.name, f"{number(figure.value)} {figure.unit}", target, peer, ratio, verdict]
