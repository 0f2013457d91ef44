"""What a user declares about one record: a Pydantic model with a few words more."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict

from headrace.core.errors import DeclarationError

OnViolation = Literal["quarantine", "null", "reject"]
"""What happens to a record that breaks a rule.

`quarantine`: it waits with its raw bytes until it is replayed or dropped (the default).
`null`: the offending column is set to NULL and the record is kept; only for columns that allow NULL.
`reject`: a pushed request is refused as a whole and nothing of it is applied; from a source that has nobody to
answer, the record is quarantined.
"""

_CONSTRAINTS = frozenset(inspect.signature(pydantic.Field).parameters) - {"default", "extra"}


class Record(BaseModel):
    """One row of a table or one event, as a Pydantic model: the data contract starts here.

    Examples
    --------
    >>> class Item(Record):
    ...     item_id: str
    ...     price: float = Field(gt=0)
    >>> Item(item_id="i1", price=2.5).price
    2.5
    """

    model_config = ConfigDict(ser_json_inf_nan="null")


def Field(default: Any = ..., *, on_violation: OnViolation = "quarantine", **constraints: Any) -> Any:  # noqa: N802 (Pydantic's own name)
    """A column with constraints: `pydantic.Field`, plus what to do with a record that breaks them.

    Parameters
    ----------
    default
        The value when the record has none; required when not given.
    on_violation
        See `OnViolation`.
    **constraints
        Everything that `pydantic.Field` takes: `gt`, `ge`, `lt`, `le`, `min_length`, `max_length`, `pattern`,
        `description`, ...

    Raises
    ------
    DeclarationError
        For a constraint that is none: Pydantic would take it for a note and check nothing.
    """
    unknown = [name for name in constraints if name not in _CONSTRAINTS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], {*_CONSTRAINTS, "on_violation"}, n=1)
        raise DeclarationError(
            f"Field has no parameter {unknown[0]!r}",
            hint=f"did you mean {close[0]!r}?" if close else "it takes what pydantic.Field takes, and on_violation",
        )
    extra = dict(constraints.pop("json_schema_extra", None) or {})
    if on_violation != "quarantine":
        extra["on_violation"] = on_violation
    return pydantic.Field(default, json_schema_extra=extra or None, **constraints)
