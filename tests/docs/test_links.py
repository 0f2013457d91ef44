"""Links inside the documentation lead somewhere, and every page can be reached from the front page."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """The targets of a page's links, without those to other sites."""
    text = FENCE.sub("", page.read_text())
    found = [first or second for first, second in LINK.findall(text)]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The names that a page's headings can be linked by."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_links_resolve(pages: list[Path], root: Path) -> None:
    broken: list[str] = []
    for page in pages:
        for target in links(page):
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
                broken.append(f"{page.relative_to(root)}: {target}")
    assert broken == []


def test_every_page_is_reached_from_the_front_page(root: Path) -> None:
    reached: set[Path] = set()
    queue = [root / "docs/index.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
        queue += [path for path in targets if path.suffix == ".md" and path.is_file()]
    lost = [str(page.relative_to(root)) for page in (root / "docs").rglob("*.md") if page not in reached]
    assert lost == []
