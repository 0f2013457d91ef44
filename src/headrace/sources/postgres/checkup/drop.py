"""Taking away what was made on a server: the slot, its temporary forerunner, and the publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from headrace.core.errors import SourceError
from headrace.sources.postgres.checkup.facts import PublicationFacts, SlotFacts
from headrace.sources.postgres.checkup.names import identifier
from headrace.sources.postgres.checkup.read import connect, place, read_publication, read_slot, read_wal


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left on a server; None: there is no such thing."""

    place: str
    slot: SlotFacts | None
    publication: PublicationFacts | None
    wal: int | None = None

    @property
    def ours(self) -> PublicationFacts | None:
        """The publication, if it belongs to our user: one that somebody else made is not ours to drop."""
        return self.publication if self.publication is not None and self.publication.owned else None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to drop."""
        return self.slot is None and self.ours is None


def look(dsn: str, *, slot: str, publication: str | None) -> Remains:
    """What there is to drop.

    Raises
    ------
    SourceError
        The server cannot be reached, or the slot is not one that a Headrace can have made.
    """
    with connect(dsn) as connection:
        found = read_slot(connection, slot)
        if found is not None and (found.type != "logical" or found.plugin != "pgoutput"):
            raise SourceError(
                f"the slot {slot!r} on {place(dsn)} is not ours: it is {found.type}, plugin {found.plugin or 'none'}",
                hint="name the right one with --slot; `headrace source list` shows those there are",
                source="postgres",
            )
        public = None if publication is None else read_publication(connection, publication)
        return Remains(place(dsn), found, public, read_wal(connection))


def refuse_active(remains: Remains) -> None:
    """
    Raises
    ------
    SourceError
        Somebody follows the slot right now.
    """
    slot = remains.slot
    if slot is not None and slot.active_pid is not None:
        raise SourceError(
            f"the slot {slot.name!r} on {remains.place} is being followed (process {slot.active_pid} of the server)",
            hint="stop the engine that follows it first (`headrace serve` or `headrace dev`, Ctrl-C); if there is none"
            f" any more, end the connection: SELECT pg_terminate_backend({slot.active_pid});",
            source="postgres",
        )


def drop(dsn: str, remains: Remains) -> Sequence[str]:
    """Drop what stands there; what was done, one sentence each. The slot goes first: without it nothing keeps log.

    Raises
    ------
    SourceError
        The server refused; what was dropped before stays dropped, and the message says so.
    """
    refuse_active(remains)
    done: list[str] = []
    slot, publication = remains.slot, remains.ours
    with connect(dsn) as connection:
        if slot is not None:
            _run(connection, remains, done, "SELECT pg_drop_replication_slot(%s)", (slot.name,))
            done.append(f"dropped the slot {slot.name}")
        if publication is not None:
            _run(connection, remains, done, f"DROP PUBLICATION {identifier(publication.name)}", None)
            done.append(f"dropped the publication {publication.name}")
    left = remains.publication
    if left is not None and publication is None:
        done.append(
            f"the publication {left.name} is {left.owner}'s and stays: DROP PUBLICATION {identifier(left.name)};"
        )
    return done


def _run(connection: Any, remains: Remains, done: list[str], statement: str, params: tuple[str, ...] | None) -> None:
    import psycopg

    try:
        connection.execute(cast("Any", statement), params)
    except psycopg.errors.ObjectInUse as error:
        raise SourceError(
            f"{remains.place}: {str(error).splitlines()[0]}",
            hint="an engine began to follow it just now: stop it first",
            source="postgres",
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceError(
            f"{remains.place}: {str(error).splitlines()[0]}{_before(done)}",
            hint="a slot is dropped by a user with the REPLICATION attribute, a publication by its owner",
            source="postgres",
        ) from None
    except psycopg.Error as error:
        raise SourceError(
            f"{remains.place}: {str(error).splitlines()[0]}{_before(done)}",
            hint="see the server's own words above",
            source="postgres",
        ) from None


def _before(done: list[str]) -> str:
    return f" ({', '.join(done)} before)" if done else ""
