"""Keys of deleted rows: read from whatever form they come in, judged like the key columns of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import TypeAdapter, ValidationError

from headrace.contracts.breach import Breach, breaches_of, gravest, value_text
from headrace.contracts.contract import Contract
from headrace.contracts.exact import encoder_of, input_names
from headrace.core.records import OnViolation
from headrace.core.schema import Row, TableKind


class KeyReader:
    """Reads the keys of one table into storage form."""

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._record = contract.record
        self._policies: dict[str, OnViolation] = {**contract.policies, "": contract.on_violation}
        self.inputs = input_names(contract.record)
        """The column of each name that a field has in the data."""
        names = contract.schema.key
        hooked = {f for d in contract.record.__pydantic_decorators__.field_validators.values() for f in d.info.fields}
        frozen = bool(contract.record.model_config.get("frozen"))
        self._hooked = {name for name in names if not frozen and (name in hooked or "*" in hooked)}
        wanted = [*names, *([contract.schema.version] if contract.schema.version else [])]
        self._adapters = {name: _adapter(contract, name) for name in wanted}
        self._lists = {name: TypeAdapter(_many(contract, name)) for name in names}
        self._encoders = {name: encoder_of(contract.schema.column(name)) for name in wanted}

    def read(self, key: Any) -> Row | Breach:
        """The key in storage form.

        Parameters
        ----------
        key
            A mapping by column (or alias), a sequence in the declared order, or the value of a key of one column.
        """
        if self._schema.kind is TableKind.EVENTS:
            return Breach("op", "", value_text(key), f"{self._schema.name} are events: they cannot be deleted")
        values = self._by_column(key)
        if isinstance(values, Breach):
            return values
        cells: list[Any] = []
        for name in self._schema.key:
            if name not in values:
                return Breach("key_missing", name, value_text(key), f"the key of a delete has no {name!r}")
            cell = self._cell(name, values[name])
            if isinstance(cell, Breach):
                return cell
            cells.append(cell)
        return tuple(cells)

    def columns(self, names: Sequence[str], keys: Sequence[Sequence[Any]]) -> dict[str, list[Any]] | None:
        """Many keys at once, as columns in storage form by name; None when one of them is not good, or must be read
        alone: then `read` says which, and why.

        Parameters
        ----------
        names
            Of the values of each key, in order.
        """
        if self._hooked or not keys or self._schema.kind is TableKind.EVENTS:
            return None
        given = {self.inputs.get(name, name): i for i, name in enumerate(names)}
        found: dict[str, list[Any]] = {}
        for name in self._schema.key:
            if name not in given:
                return None
            at, adapter, encode = given[name], self._lists[name], self._encoders[name]
            try:
                found[name] = [encode(value) for value in adapter.validate_python([key[at] for key in keys])]
            except ValidationError:
                return None
        return found

    def version(self, fields: Mapping[str, Any]) -> int | Breach | None:
        """The guard version beside the key of a delete; None when there is none or the table declares no version."""
        column = self._schema.version
        if column is None:
            return None
        by_column = {self.inputs[name]: value for name, value in fields.items() if name in self.inputs}
        given = by_column.get(column, fields.get("version"))
        if given is None:
            return None
        cell = self._cell(column, given)
        return cell if isinstance(cell, int | Breach) else None

    def _by_column(self, key: Any) -> dict[str, Any] | Breach:
        names = self._schema.key
        if isinstance(key, Mapping):
            fields = cast("Mapping[Any, Any]", key)
            return {self.inputs.get(str(name), str(name)): value for name, value in fields.items()}
        if isinstance(key, Sequence) and not isinstance(key, str | bytes):
            cells = cast("Sequence[Any]", key)
            if len(cells) == len(names):
                return dict(zip(names, cells, strict=True))
        elif len(names) == 1:
            return {names[0]: key}
        return Breach(
            "key_missing", names[0], value_text(key), f"the key of {self._schema.name} is ({', '.join(names)})"
        )

    def _cell(self, name: str, value: Any) -> Any:
        try:
            return self._encoders[name](self._validated(name, value))
        except ValidationError as error:
            return gravest(
                [
                    Breach(b.rule, name, b.value, f"{name}: {b.message}", b.policy)
                    for b in breaches_of(error, self.inputs, self._policies)
                ]
            )
        # The boundary to user code: a validator of a key column.
        except Exception as error:
            return Breach("type", name, value_text(value), f"{name}: {error}", self._policies[name])

    def _validated(self, name: str, value: Any) -> Any:
        if name in self._hooked:
            blank = self._record.model_construct()
            self._record.__pydantic_validator__.validate_assignment(blank, name, value)
            return blank.__dict__[name]
        adapter = self._adapters[name]
        if adapter is None:
            return value if type(value) is str else _STR.validate_python(value)
        return adapter.validate_python(value)


_STR = TypeAdapter(str)


def _many(contract: Contract, name: str) -> Any:
    """The type of a list of values of one column."""
    field = contract.record.model_fields[name]
    one = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation  # pyright: ignore
    return list[one]  # pyright: ignore[reportInvalidTypeForm]


def _adapter(contract: Contract, name: str) -> TypeAdapter[Any] | None:
    """The validator of one column alone; None when every str is good."""
    field = contract.record.model_fields[name]
    if field.annotation is str and not field.metadata:
        return None if not contract.record.__pydantic_decorators__.field_validators else TypeAdapter(str)
    return TypeAdapter(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)  # pyright: ignore
