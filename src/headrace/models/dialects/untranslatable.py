"""What one dialect can say and another cannot."""

from __future__ import annotations


class Untranslatable(Exception):
    """A request asks for something that the upstream's dialect has no words for."""
