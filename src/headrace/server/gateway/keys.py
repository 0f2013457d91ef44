"""Virtual keys: who may call which models, how often, and for how much money. Read from a YAML file.

    keys:
      - id: k_5f2a9c01b3de
        name: shop
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        created: 2026-11-25T18:00:00Z
        budget: {day: "5.00", month: "100"}
        rpm: 60
        tpm: 100000
        models: [llm]
        views: [menu]
        tenant: shop
        priority: normal
        expires: 2027-01-01T00:00:00Z

The file holds the SHA-256 of each key, never a key: whoever reads it cannot call anything. Keys are random, with 256
bits, so that a fast hash without salt is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from headrace.core.clock import instant
from headrace.core.documents import read_yaml
from headrace.core.errors import DeclarationError
from headrace.core.files import read_text
from headrace.core.mistakes import TIME, UNKNOWN, number, why
from headrace.core.names import suggest
from headrace.models.call import Priority
from headrace.models.cost import MOST, PLACES

ALL = "*"
"""In place of the name of a view: every view."""
_LONGEST_SHOWN = 40
"""Characters of a value that is told; keys and digests are longer."""
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _time(value: object) -> object:
    """A number would be taken for the seconds since 1970, or for milliseconds."""
    if isinstance(value, (bool, int, float)) or (isinstance(value, str) and value.replace(".", "").isdigit()):
        raise ValueError(TIME)
    return value


Some = Annotated[Decimal, BeforeValidator(number), Field(gt=0, le=MOST, allow_inf_nan=False, decimal_places=PLACES)]
Rate = Annotated[int, BeforeValidator(number), Field(gt=0, le=10**12)]
Time = Annotated[AwareDatetime, BeforeValidator(_time)]


class Budget(BaseModel):
    """Most that a key may spend, in the currency of the prices; days and months are those of UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: Some | None = None
    month: Some | None = None
    total: Some | None = None

    @cached_property
    def limits(self) -> dict[str, Decimal]:
        """Per period, where there is a limit."""
        given = {"day": self.day, "month": self.month, "total": self.total}
        return {period: limit for period, limit in given.items() if limit is not None}


_RANKS = {"critical": Priority.CRITICAL, "normal": Priority.NORMAL, "sheddable": Priority.SHEDDABLE}


class VirtualKey(BaseModel):
    """One key, as the file says.

    Attributes
    ----------
    id
        Under which its spending is kept; stays when the key is renamed.
    rpm, tpm
        Requests and tokens (prompt and answer) a minute. A key that rested may use a whole minute's at once.
    models
        Which it may call; empty: all.
    views
        Whose rows its requests may have put into their prompts; empty: none, `*`: all.
    tenant
        Whom its calls are fair to; its name where it is empty.
    priority
        The highest that its requests may have.
    revoked
        Since when it is of no use any more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: Annotated[str, Field(min_length=1, max_length=200)]
    sha256: str
    created: Time | None = None
    budget: Budget = Field(default_factory=Budget)
    rpm: Rate | None = None
    tpm: Rate | None = None
    models: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    tenant: str = ""
    priority: Literal["critical", "normal", "sheddable"] = "normal"
    expires: Time | None = None
    revoked: Time | None = None

    @field_validator("id")
    @classmethod
    def _number(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError("1 to 64 letters, digits, _ . and - are wanted")
        return value

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if not _DIGEST.fullmatch(value):
            raise ValueError("not a SHA-256 in 64 lower-case hexadecimal digits")
        return value

    @property
    def rank(self) -> Priority:
        """Its priority as calls carry it."""
        return _RANKS[self.priority]

    def allows(self, model: str) -> bool:
        """Whether it may call a model."""
        return not self.models or model in self.models

    def reads(self, view: str) -> bool:
        """Whether its requests may read a view."""
        return view in self.views or ALL in self.views

    def ended(self, now: int) -> str:
        """Why it is of no use at an instant (microseconds); empty while it is."""
        for word, at in (("revoked", self.revoked), ("expired", self.expires)):
            if at is not None and instant(at) <= now:
                return word
        return ""


class Document(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[VirtualKey] = Field(default_factory=list[VirtualKey])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The keys of one reading of the file. `present`: whether one was read, or must be there."""

    keys: tuple[VirtualKey, ...] = ()
    by_digest: Mapping[str, VirtualKey] = field(default_factory=dict[str, VirtualKey])
    present: bool = True

    def find(self, given: bytes) -> VirtualKey | None:
        """The key that a client gave, ended or not; None when there is no such key.

        It is found by its digest: how long that takes says something of the digest only, from which nobody gets to
        the key; and the digest that was found is compared in constant time once more.
        """
        digest = digest_of(given)
        found = self.by_digest.get(digest)
        return found if found is not None and hmac.compare_digest(found.sha256, digest) else None


def digest_of(key: bytes) -> str:
    """What the file has of a key."""
    return hashlib.sha256(key).hexdigest()


def parse(text: str, *, where: str = "") -> Snapshot:
    """The keys in a text.

    Raises
    ------
    DeclarationError
        It is no file of keys, or two keys have one id or one digest.

    Examples
    --------
    >>> parse("keys: []").keys
    ()
    """
    given: Any = None
    try:
        given = read_yaml(text)
        if given is None:  # more likely cut off than meant, and it would lock everybody out
            raise DeclarationError("the file of keys is empty", hint="without any keys it says: keys: []", where=where)
        document = Document.model_validate(given)
    except ValueError as error:
        raise DeclarationError(
            f"these are no keys: {_first(error, given)}",
            hint="repair the file, or move it away and make new keys: headrace key create APP NAME",
            where=where,
        ) from error
    _check_differ(document.keys, where)
    return Snapshot(tuple(document.keys), {key.sha256: key for key in document.keys})


def _check_differ(keys: Sequence[VirtualKey], where: str) -> None:
    """Refuse two keys of one id, one secret or one name. A key that is revoked stays in the file; its name is free."""
    ids: dict[str, VirtualKey] = {}
    digests: dict[str, VirtualKey] = {}
    names: dict[str, VirtualKey] = {}
    for key in keys:
        if ids.setdefault(key.id, key) is not key:
            raise DeclarationError(f"two keys have the id {key.id!r}", hint="remove one of them", where=where)
        first = digests.setdefault(key.sha256, key)
        if first is not key:
            told = f"the keys {first.name!r} and {key.name!r} have the same sha256: they are one key"
            raise DeclarationError(told, hint="remove one of them", where=where)
        if key.revoked is None and names.setdefault(key.name, key) is not key:
            hint = "give one of them another name, or revoke it"
            raise DeclarationError(f"two keys have the name {key.name!r}", hint=hint, where=where)


def load(path: Path) -> Snapshot:
    """The keys in a file.

    Raises
    ------
    DeclarationError
        The file cannot be read, or holds no keys.
    """
    try:
        text = read_text(path)
    except ValueError as error:
        raise DeclarationError(
            f"the keys cannot be read: {error}", hint="check the file and its permissions", where=str(path)
        ) from error
    return parse(text, where=str(path))


def _first(error: ValueError, given: Any) -> str:
    """What is wrong in one line. A digest or a key that stands in the wrong place stays unseen."""
    if not isinstance(error, ValidationError):
        return str(error)
    all_of_them = error.errors(include_url=False)
    # What is missing is often what was misspelt: then its own name says more.
    found = next((one for one in all_of_them if one["type"] in UNKNOWN), all_of_them[0])
    place = [part for part in found["loc"] if part != "[key]"]
    key, known = "", Document.model_fields
    if len(place) > 1 and place[0] == "keys" and isinstance(place[1], int):
        key, known = _called(given["keys"][place[1]], place[1]), VirtualKey.model_fields
        place = place[2:]
    if not place:
        return f"{key or 'the file'} is no mapping of names to values"
    where = ", ".join(filter(None, (key, ".".join(map(str, place)))))
    if found["type"] in UNKNOWN:
        inner = Budget.model_fields if place[0] == "budget" else known
        return f"{where}: there is no such field; {suggest(str(place[-1]), inner)}"
    value = "" if found["type"] in ("missing", "invalid_key") else _shown(place[0], found["input"])
    return f"{where}: {value}{why(found)}"


def _shown(field: object, value: object) -> str:
    """A value, where it is surely no secret."""
    short = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _LONGEST_SHOWN)
    secret = field == "sha256" or (isinstance(value, str) and value.startswith(("hr-", "sk-")))
    return f"{value!r}: " if short and not secret else ""


def _called(key: Any, index: int) -> str:
    """The key by its name, where it has one; else which one of the file it is."""
    name: object = key.get("name") if isinstance(key, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    proper = isinstance(name, str) and name.isprintable() and len(name) <= 200 and not _DIGEST.search(name)
    return f"the key {name!r}" if proper and name else f"key {index + 1} of the file"


def moment(at: datetime | None) -> str:
    """An instant as `headrace key list` shows it."""
    return "" if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
