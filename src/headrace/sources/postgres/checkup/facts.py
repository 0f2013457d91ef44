"""Facts about a PostgreSQL server, as they were read: no judgement yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.core.clock import ClockOffset
from headrace.core.schema import Schema
from headrace.sources.postgres.tables import Named


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream needs: its slot, its publication, and the tables behind those of the app.

    Attributes
    ----------
    subject
        How people call the server, without secrets: "postgres db:5432/shop".
    schemas
        The app's tables by name.
    sources
        The server's name of each of them.
    resumes
        Whether something of this stream was committed before, so that a missing slot was lost.
    """

    subject: str
    slot: str
    publication: str
    schemas: Mapping[str, Schema]
    sources: Mapping[str, Named]
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and the rights of our user on it.

    Attributes
    ----------
    version
        As `server_version_num`: 150004.
    settings
        By name, as `SHOW` shows them; one that this version does not have is absent.
    roles
        Of the roles that providers make, those that our user is a member of.
    provider
        Whose managed server it seems to be, a key of `server.PROVIDERS`; "" if nobody's.
    wal
        Bytes of log written since the beginning (the current LSN); None: the server does not say.
    """

    version: int
    release: str
    database: str
    user: str
    standby: bool
    superuser: bool
    replication: bool
    may_create: bool
    slots_used: int
    senders_used: int
    settings: Mapping[str, str]
    roles: frozenset[str] = frozenset()
    provider: str = ""
    wal: int | None = None
    clock: ClockOffset | None = None


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """A row of `pg_replication_slots`; what the server's version does not have is None."""

    name: str
    plugin: str | None
    type: str
    database: str | None
    active_pid: int | None
    restart: int | None
    confirmed: int | None
    wal_status: str | None = None
    safe_wal_size: int | None = None
    invalidation: str | None = None
    conflicting: bool | None = None
    failover: bool | None = None
    synced: bool | None = None
    inactive_since: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """One table of a publication; `columns` and `row_filter` are None where the version has no such thing."""

    columns: frozenset[str] | None = None
    row_filter: str | None = None


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """A publication. `owned`: our user may alter it. `tables` by `(schema, name)`. `generated`: whether it sends stored
    generated columns (from PostgreSQL 18 on)."""

    name: str
    owner: str
    owned: bool
    all_tables: bool
    operations: frozenset[str]
    via_root: bool
    tables: Mapping[tuple[str, str], Published]
    generated: bool = False


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column.

    Attributes
    ----------
    type
        For people, with its length.
    base, kind, category
        The type below its domains: typname, typtype and typcategory of `pg_type`.
    generated
        "": not; "s": stored; "v": virtual.
    built_in
        Whether the base type is the server's own, not one of an extension or a user.
    """

    type: str
    base: str
    kind: str
    category: str
    not_null: bool
    generated: str = ""
    built_in: bool = True


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index. `identifies`: the server takes it as a replica identity."""

    name: str
    columns: tuple[str, ...]
    primary: bool
    identifies: bool


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """A leaf of a partitioned table: its replica identity is the one that counts for its rows."""

    name: str
    identity: str
    identity_columns: frozenset[str]
    may_select: bool = True


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table at the source.

    Attributes
    ----------
    kind, persistence, identity
        The letters of `pg_class`: relkind, relpersistence, relreplident.
    identity_columns
        What the old row of an update or delete carries.
    filtered
        Whether row-level security hides rows from our user.
    owned
        Whether our user may alter it.
    """

    schema: str
    name: str
    kind: str
    persistence: str
    identity: str
    identity_columns: frozenset[str]
    columns: Mapping[str, ColumnFacts]
    indexes: Sequence[UniqueIndex]
    owner: str
    owned: bool
    may_select: bool
    may_use_schema: bool
    filtered: bool
    is_partition: bool = False
    partitions: Sequence[PartitionFacts] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was read at one server for one stream.

    Attributes
    ----------
    tables
        By the app's names; None: there is no such table, or our user may not see it.
    refused
        What the server said when a replication connection was asked for; None: it was given.
    """

    server: ServerFacts
    slot: SlotFacts | None
    publication: PublicationFacts | None
    tables: Mapping[str, TableFacts | None] = field(default_factory=dict[str, "TableFacts | None"])
    refused: str | None = None
