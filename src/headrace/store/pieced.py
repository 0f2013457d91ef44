"""One transaction whose submissions come piece by piece: what a source committed together may be larger than memory.

Each piece goes through the steps of the commit protocol and is let go; readers see nothing before the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import apsw

from headrace.core.changes import Receipt, together
from headrace.core.errors import HeadraceError, StoreError
from headrace.store.base import Submission
from headrace.store.isolate import without_unstorable
from headrace.store.rows import TableRows
from headrace.store.transaction import State, Transaction, Unstorable

Steps = Callable[[Transaction], Callable[[], None]]
"""Runs the steps of one piece; returns what publishes them after the commit."""


class Pieced:
    """Applies the pieces of one transaction, which is open.

    Parameters
    ----------
    discard
        Tells maintainers to forget what they noted for a piece that is rolled back.
    careful
        Whether each piece can be undone alone, so that a row that cannot be stored becomes a violation. Costs time.

    Attributes
    ----------
    works
        What was applied, without its rows.
    receipt
        The answer to the unit as a whole.
    refused
        The table of the submission that was refused.
    """

    def __init__(
        self,
        db: apsw.Connection,
        tables: Mapping[str, TableRows],
        steps: Steps,
        discard: Callable[[], None],
        *,
        careful: bool,
    ) -> None:
        self.works: list[Transaction] = []
        self.receipt = Receipt(0)
        self.refused = ""
        self._db = db
        self._tables = tables
        self._steps = steps
        self._discard = discard
        self._careful = careful
        self._publish: list[Callable[[], None]] = []

    def apply(self, pieces: Iterable[Sequence[Submission]], state: State, txn: int) -> Callable[[], None]:
        """Apply all pieces; returns what publishes them.

        Raises
        ------
        HeadraceError
            A submission is refused, and so the whole unit.
        Unstorable
            A row cannot be stored, and pieces cannot be undone alone.
        """
        for submissions in pieces:
            work = self._carefully(submissions, state, txn) if self._careful else self._apply(submissions, state, txn)
            work.release()
            self.works.append(work)
            state = state.after(work)
        return self._publish_all

    def _apply(self, submissions: Sequence[Submission], state: State, txn: int) -> Transaction:
        work = Transaction(self._db, state, submissions, txn, merge=not self._careful)
        publish = self._steps(work)
        for submission, outcome in zip(submissions, work.outcomes, strict=True):
            if isinstance(outcome, HeadraceError):
                self.refused = submission.table
                raise outcome
            if outcome is not None:
                self.receipt = together([self.receipt, outcome])
        self._publish.append(publish)
        return work

    def _carefully(self, submissions: Sequence[Submission], state: State, txn: int) -> Transaction:
        todo = list(submissions)
        while True:
            self._db.execute("SAVEPOINT piece")
            try:
                work = self._apply(todo, state, txn)
                self._db.execute("RELEASE piece")
                return work
            except Unstorable as failure:
                self._db.execute("ROLLBACK TO piece")
                self._db.execute("RELEASE piece")
                self._discard()
                todo = self._cleaned(todo, failure)

    def _cleaned(self, todo: Sequence[Submission], failure: Unstorable) -> list[Submission]:
        cleaned = without_unstorable(self._db, self._tables[failure.submission.table], failure.submission)
        index = failure.index
        if index is None or len(cleaned.judged.violations) == len(failure.submission.judged.violations):
            raise StoreError(f"a change of {failure.submission.table!r} failed: {failure.cause!r}") from failure.cause
        return [*todo[:index], cleaned, *todo[index + 1 :]]

    def _publish_all(self) -> None:
        for publish in self._publish:
            publish()
