"""Draws docs/images/demo.svg from a real run of the demo on this machine.

python scripts/picture.py [seconds]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from headrace.demo.run import run_demo
from headrace.demo.screen import render

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "demo.svg"


def main(seconds: float) -> None:
    """Run the demo, then draw its last screen."""
    board = run_demo(seconds=seconds, plain=True, console=Console(file=sys.stderr))
    console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(render(board, ended=True))
    drawn = console.export_svg(title="headrace demo")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    # The picture brings no font from elsewhere: whoever looks at it has a monospaced one.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code", "monospace"))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
