"""A YAML document that remembers on which line everything stands, so that errors can say so."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from headrace.core.errors import ContractError

Path = tuple[str | int, ...]
"""The way to a value: keys and indexes from the top."""


class Document:
    """A parsed contract file.

    Parameters
    ----------
    text
        YAML.
    filename
        For error messages.

    Raises
    ------
    ContractError
        When the text is not YAML or not a mapping.
    """

    def __init__(self, text: str, *, filename: str = "") -> None:
        self._filename = filename or "the contract"
        self._lines: dict[Path, int] = {}
        self.root: dict[str, Any] = self._parse(text)

    def fail(self, path: Path, message: str, hint: str) -> NoReturn:
        """Raise a ContractError about the value at `path`, or what is nearest to it."""
        while path and path not in self._lines:
            path = path[:-1]
        line = self._lines.get(path, 1)
        raise ContractError(f"{self._filename}, line {line}: {message}", hint=hint)

    def get(self, holder: Any, path: Path, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """`holder[name]`, checked to be of a type; `default` when it is not there."""
        value = holder.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            wanted = " or ".join(_KINDS.get(k, k.__name__) for k in (kind if isinstance(kind, tuple) else (kind,)))
            self.fail((*path, name), f"{name} is {value!r}, not {wanted}", "see the standard's field of that name")
        return value

    def entries(self, holder: Any, path: Path, name: str) -> list[tuple[Path, dict[str, Any]]]:
        """The mappings in the list `holder[name]`, each with its path."""
        found: list[tuple[Path, dict[str, Any]]] = []
        for i, entry in enumerate(self.get(holder, path, name, list, [])):
            at = (*path, name, i)
            if not isinstance(entry, dict):
                self.fail(at, f"an entry of {name} is {entry!r}, not a mapping", "write each entry as key: value pairs")
            found.append((at, cast("dict[str, Any]", entry)))
        return found

    def facts(self, holder: Any, path: Path) -> dict[str, Any]:
        """The customProperties of `holder` by name."""
        return {str(e.get("property")): e.get("value") for _, e in self.entries(holder, path, "customProperties")}

    def _parse(self, text: str) -> dict[str, Any]:
        import yaml

        from headrace.core.documents import SafeLoader, Twice

        try:
            loader: Any = SafeLoader(text)
            try:
                node = loader.get_single_node()
                root: Any = None if node is None else loader.construct_document(node)
            finally:
                loader.dispose()
        except yaml.YAMLError as error:
            mark: Any = getattr(error, "problem_mark", None)
            line = "" if mark is None else f", line {mark.line + 1}"
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            if isinstance(error, Twice):
                raise ContractError(f"{self._filename}{line}: {problem}", hint="remove one of them") from error
            raise ContractError(
                f"{self._filename}{line}: this is not YAML: {problem}", hint="check the indentation and the quotes"
            ) from error
        except (ValueError, RecursionError, TypeError) as error:  # dates that do not exist, keys that are lists, ...
            raise ContractError(
                f"{self._filename}: a value cannot be read: {error}", hint="put quotes around the value"
            ) from error
        if not isinstance(root, dict):
            raise ContractError(f"{self._filename} is not a data contract: it is not a mapping", hint=_HINT)
        self._note(node, ())
        return root  # pyright: ignore[reportUnknownVariableType]

    def _note(self, node: Any, path: Path) -> None:
        value: Any = node.value
        if len(path) > _DEEPEST or len(self._lines) > _MOST:  # aliases can make a small file endless
            return
        self._lines[path] = node.start_mark.line + 1
        if isinstance(value, list):
            for i, item in enumerate(cast("list[Any]", value)):
                if isinstance(item, tuple):
                    key, entry = cast("tuple[Any, Any]", item)
                    self._note(entry, (*path, str(key.value)))
                    self._lines[(*path, str(key.value))] = key.start_mark.line + 1
                else:
                    self._note(item, (*path, i))


_HINT = "a file of the standard begins with apiVersion: v3.1.0 and kind: DataContract"
_KINDS: dict[type, str] = {str: "text", list: "a list", dict: "a mapping", bool: "true or false", int: "a whole number"}
_DEEPEST = 12
"""Lines are known down to this depth, which is more than anything that is looked at has."""
_MOST = 200_000
"""Lines are known for this many values."""
