"""What one dialect can say and another cannot."""

from __future__ import annotations


class Untranslatable(Exception):
    """A request asks for something that the upstream's dialect has no words for: what, as a noun."""


class Malformed(Exception):
    """A request is not of the form that its own dialect has: where, and what is wrong.

    One that is passed on as it is would be refused by its upstream; a translation has to say it itself.
    """
