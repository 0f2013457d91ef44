"""What one view's compilation shares and learns."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.views.catalog import Catalog
from headrace.views.subset import SqlText
from headrace.views.types import Parameters


@dataclass
class Statement:
    """What one view's compilation shares and learns."""

    text: SqlText
    catalog: Catalog
    parameters: Parameters
    needs_now: bool = False
    relations: dict[str, None] = field(default_factory=dict[str, None])
    """Names that are read, in order of first use."""
    compared: list[tuple[str, str, bool]] = field(default_factory=list[tuple[str, str, bool]])
    """(alias, column, whether by equality) of comparisons, for index hints."""
