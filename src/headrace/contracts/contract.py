"""The contract of a table: what a record must be, and what happens to one that is not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

from headrace.contracts.expression import compile_expression
from headrace.contracts.rules import Rule, check_policy
from headrace.core.clock import SECOND
from headrace.core.errors import DeclarationError
from headrace.core.names import suggest
from headrace.core.records import OnViolation, Record
from headrace.core.schema import Schema

NewFields = Literal["ignore", "adopt", "quarantine"]
"""What happens to fields that the record does not declare: dropped, kept as JSON in `_extra`, or a violation."""

AHEAD = 5 * 60 * SECOND
"""How far in the future an event time may be: more than clocks differ, less than what poisons a watermark."""


@dataclass(frozen=True)
class Contract:
    """What a record of one table must be.

    Attributes
    ----------
    record
        The Pydantic model; the judge of record.
    schema
        The table that the model declares.
    rules
        Row rules, checked in this order after the fields are valid.
    lateness
        An event older than the watermark by more than this (microseconds) is too late; None: never.
    ahead
        An event time further in the future than this (microseconds) is a violation; None: never.
    new_fields
        See `NewFields`.
    on_violation
        The policy of columns that declare none themselves.
    description, owner
        For people, and for the exported contract.
    freshness
        The freshness promise in microseconds, for the exported contract; None: no promise.

    Raises
    ------
    DeclarationError
        When it contradicts itself.
    """

    record: type[Record]
    schema: Schema
    rules: tuple[Rule, ...] = ()
    lateness: int | None = None
    ahead: int | None = AHEAD
    new_fields: NewFields = "ignore"
    on_violation: OnViolation = "quarantine"
    description: str = ""
    owner: str = ""
    freshness: int | None = None
    policies: dict[str, OnViolation] = field(init=False, compare=False, default_factory=dict[str, OnViolation])
    """What happens when a column is violated, by column."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        self._agree_on_new_fields()
        check_policy(self.on_violation, f"the table {self.schema.name!r}")
        if self.on_violation == "null":
            raise DeclarationError(
                f'the table {self.schema.name!r} has on_violation="null" as a whole',
                hint='set it on the columns that allow NULL: hr.Field(on_violation="null")',
            )
        self.policies.update({name: self._policy(name) for name in self.schema.names})
        if self.lateness is not None and self.schema.event_time is None:
            raise DeclarationError(
                f"{self.schema.name!r} has an allowed lateness but no event time", hint="name its event_time column"
            )
        self._check_rules()

    def policy(self, column: str) -> OnViolation:
        """What happens to a record that violates `column`; "" for the whole record."""
        return self.policies.get(column, self.on_violation)

    def _agree_on_new_fields(self) -> None:
        if self.new_fields not in get_args(NewFields):
            raise DeclarationError(
                f"new_fields={self.new_fields!r} of {self.schema.name!r} is none of the choices",
                hint='use "ignore" (the default), "adopt" or "quarantine"',
            )
        if self.schema.adopt and self.new_fields == "ignore":
            object.__setattr__(self, "new_fields", "adopt")
        elif self.schema.adopt != (self.new_fields == "adopt"):
            object.__setattr__(self, "schema", replace(self.schema, adopt=self.new_fields == "adopt"))

    def _policy(self, name: str) -> OnViolation:
        extra: Any = self.record.model_fields[name].json_schema_extra
        declared = cast("dict[str, Any]", extra) if isinstance(extra, dict) else {}
        policy = cast("OnViolation", declared.get("on_violation", self.on_violation))
        what = f"the column {name!r} of {self.schema.name!r}"
        check_policy(policy, what)
        if policy == "null":
            self._check_nullable(name, what)
        return policy

    def _check_nullable(self, name: str, what: str) -> None:
        if not self.schema.column(name).nullable:
            raise DeclarationError(
                f'{what} has on_violation="null", but {name!r} does not allow NULL',
                hint="add `| None` to its type, or let the record be quarantined",
            )

    def _check_rules(self) -> None:
        names: set[str] = set()
        for rule in self.rules:
            if not isinstance(rule, Rule):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DeclarationError(f"{rule!r:.80} of {self.schema.name!r} is not a rule", hint="write Rule(...)")
            if rule.name in names:
                raise DeclarationError(
                    f"two rules of {self.schema.name!r} are called {rule.name!r}", hint="give each its own name"
                )
            names.add(rule.name)
            self._check_rule(rule)

    def _check_rule(self, rule: Rule) -> None:
        what = f"the rule {rule.name!r} of {self.schema.name!r}"
        for column in rule.columns:
            if not self.schema.has(column):
                raise DeclarationError(
                    f"{what} names the column {column!r}, which is not there", hint=suggest(column, self.schema.names)
                )
        if rule.on_violation == "null":
            if not rule.columns:
                raise DeclarationError(
                    f'{what} has on_violation="null" but no columns', hint="name the columns to set to NULL"
                )
            for column in rule.columns:
                self._check_nullable(column, what)
        if rule.sql is not None:
            compile_expression(rule.sql, self.schema)
