"""What the plugin `pgoutput` says, as small objects: "Logical Replication Message Formats" of PostgreSQL's manual.

Places in the log are numbers (`lsn`), times are microseconds since 1970. `xid` is 0 outside of streamed blocks; inside
it is the transaction (or subtransaction) that the message belongs to, so that a `StreamAbort` of a subtransaction can
take back its part.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from headrace.sources.postgres.lsn import Lsn


class Unchanged:
    """The type of `UNCHANGED`."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED = Unchanged()
"""The cell of a large (TOASTed) value that an update did not touch: the server does not send it. There is only one."""


class Binary(bytes):
    """A cell in PostgreSQL's binary form; the server sends it only when it was asked for with the option `binary`."""

    __slots__ = ()


Cell = bytes | Unchanged | None
"""A value in PostgreSQL's text form, `UNCHANGED`, or None for NULL. (`Binary` is bytes too.)"""

Cells = tuple[Cell, ...]
"""A row, in the order of its relation's columns."""


class RelationColumn(NamedTuple):
    """A column of a relation: its name, whether it belongs to the replica identity, its type's oid and modifier."""

    name: str
    is_identity: bool
    type: int
    modifier: int


class Relation(NamedTuple):
    """What a table looks like; sent before its first row and again after each change of it.

    `identity` is the replica identity: "d" (primary key), "i" (an index), "f" (full rows), "n" (nothing).
    """

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]
    xid: int = 0


class Type(NamedTuple):
    """A type that is not built in, used by the relation that follows. Of a domain, the name is its base type's."""

    oid: int
    namespace: str
    name: str
    xid: int = 0


class Begin(NamedTuple):
    """A transaction begins; all of it follows, in order. `commit_lsn` is that of its `Commit`."""

    commit_lsn: Lsn
    committed_at: int
    xid: int


class Commit(NamedTuple):
    """The transaction that began is complete. `end_lsn` is where to continue after it."""

    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: int


class Origin(NamedTuple):
    """The transaction came to this server by replication from another one."""

    lsn: Lsn
    name: str


class LogicalMessage(NamedTuple):
    """What somebody wrote with `pg_logical_emit_message`; sent only with the option `messages`."""

    transactional: bool
    lsn: Lsn
    prefix: str
    content: bytes
    xid: int = 0


class Insert(NamedTuple):
    """A new row. `has_unchanged` says that one of its cells is `UNCHANGED`."""

    relation: int
    new: Cells
    has_unchanged: bool = False
    xid: int = 0


class Update(NamedTuple):
    """A changed row.

    Attributes
    ----------
    relation
        The oid of its relation.
    new
        The row after the update.
    old
        What it was before: only the cells of the replica identity, the others None, when `old_kind` is "K" (sent when
        one of them changed); the whole row when it is "O" (REPLICA IDENTITY FULL). None: not sent.
    old_kind
        "K", "O" or "" as above.
    has_unchanged
        One of the cells of `new` is `UNCHANGED`.
    """

    relation: int
    new: Cells
    old: Cells | None = None
    old_kind: Literal["K", "O", ""] = ""
    has_unchanged: bool = False
    xid: int = 0


class Delete(NamedTuple):
    """A row that is gone: its replica identity and None in the other cells ("K"), or the whole row ("O")."""

    relation: int
    old: Cells
    old_kind: Literal["K", "O"]
    xid: int = 0


class Truncate(NamedTuple):
    """Tables that were emptied."""

    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool
    xid: int = 0


class StreamStart(NamedTuple):
    """A block of a transaction that is still under way; `is_first` on the first block of it."""

    xid: int
    is_first: bool


class StreamStop(NamedTuple):
    """The end of a block."""


class StreamCommit(NamedTuple):
    """The streamed transaction is complete."""

    xid: int
    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: int


class StreamAbort(NamedTuple):
    """The streamed transaction is undone; or, when `subxid` differs from `xid`, only that subtransaction.

    `lsn` and `aborted_at` are there only with the option `streaming 'parallel'` (protocol 4).
    """

    xid: int
    subxid: int
    lsn: Lsn | None = None
    aborted_at: int | None = None


class BeginPrepare(NamedTuple):
    """A two-phase transaction begins; all of it follows."""

    prepare_lsn: Lsn
    end_lsn: Lsn
    prepared_at: int
    xid: int
    gid: str


class Prepare(NamedTuple):
    """The two-phase transaction is prepared; `CommitPrepared` or `RollbackPrepared` decides."""

    prepare_lsn: Lsn
    end_lsn: Lsn
    prepared_at: int
    xid: int
    gid: str


class CommitPrepared(NamedTuple):
    """The prepared transaction of this name is committed."""

    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: int
    xid: int
    gid: str


class RollbackPrepared(NamedTuple):
    """The prepared transaction of this name is undone."""

    prepare_end_lsn: Lsn
    rollback_end_lsn: Lsn
    prepared_at: int
    rolled_back_at: int
    xid: int
    gid: str


class StreamPrepare(NamedTuple):
    """The streamed transaction is prepared."""

    prepare_lsn: Lsn
    end_lsn: Lsn
    prepared_at: int
    xid: int
    gid: str


Message = (
    Begin | Commit | Origin | LogicalMessage | Relation | Type | Insert | Update | Delete | Truncate
    | StreamStart | StreamStop | StreamCommit | StreamAbort
    | BeginPrepare | Prepare | CommitPrepared | RollbackPrepared | StreamPrepare
)  # fmt: skip
