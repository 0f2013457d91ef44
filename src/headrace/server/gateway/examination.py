"""What can be said of keys before anybody uses them: for `headrace doctor`, and for a gateway that has read them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from headrace.core.errors import DeclarationError
from headrace.core.events import Problem
from headrace.core.findings import Finding, Grade
from headrace.core.names import suggest
from headrace.server.gateway.keys import ALL, Snapshot, load
from headrace.server.settings import Settings, load_keys

_SUBJECT = "keys"


def unknown(snapshot: Snapshot, models: Collection[str], views: Collection[str] | None) -> Iterator[Problem]:
    """Keys for what is not declared, and are not revoked; `views` None: any may be."""
    for key in snapshot.keys:
        if key.revoked is not None:
            continue
        known = key.views if views is None else views
        wrong = [("model", name, models) for name in key.models if name not in models]
        wrong += [("view", name, known) for name in key.views if name not in (ALL, *known)]
        for what, name, there in wrong:
            said = f"the key {key.name!r} names the {what} {name!r:.100}, which is not declared"
            yield Problem("gateway:keys", f"keys_unknown_{what}", said, suggest(name, sorted(there)))


def examine_keys(path: Path, *, named: bool, models: Collection[str], views: Collection[str]) -> list[Finding]:
    """Findings about the file of virtual keys. `named`: whether somebody asks for this very file."""
    what = "file"
    if not path.exists():
        if not named:
            return [Finding(_SUBJECT, what, Grade.OK, "none")]
        said = "Nobody is let in at /v1 before it is there. Make a key with headrace key create, or name another file."
        return [Finding(_SUBJECT, what, Grade.PROBLEM, f"{path} is not there", said)]
    try:
        snapshot = load(path)
    except DeclarationError as error:
        return [Finding(_SUBJECT, what, Grade.PROBLEM, str(path), _said(error))]
    number = len(snapshot.keys)
    found = [Finding(_SUBJECT, what, Grade.OK, f"{number} key{'' if number == 1 else 's'} in {path}")]
    for one in unknown(snapshot, models, views):
        what = "models" if one.kind.endswith("model") else "views"
        found.append(Finding(_SUBJECT, what, Grade.WARNING, "", f"{one.message}: {one.hint}."))
    return found


def examine_api_keys(environ: Mapping[str, str]) -> list[Finding]:
    """Findings about the server's own keys, where the environment speaks of any."""
    names = [name for name in ("HEADRACE_API_KEYS", "HEADRACE_API_KEYS_FILE") if environ.get(name)]
    if not names:
        return []
    try:
        Settings(api_keys=load_keys(environ)).check()
    except DeclarationError as error:
        return [Finding(_SUBJECT, " and ".join(names), Grade.PROBLEM, "", _said(error))]
    return [Finding(_SUBJECT, " and ".join(names), Grade.OK)]


def _said(error: DeclarationError) -> str:
    return f"{error.message}. To do: {error.hint}."
