"""The keys of a gateway, what they may spend and what they spent: opened together, and closed together."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.models.periods import Budgets
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.ledger import Ledger

KEYS = "keys.yaml"
"""The file of keys in a data folder, where no other is named."""
SPENDING = "spending.jsonl"
"""What keys spent, in a data folder."""


class Accounts:
    """A context manager.

    Parameters
    ----------
    folder
        The data folder.
    keys
        The file of keys; the one in the data folder if not given.

    Raises
    ------
    DeclarationError
        On entering: the file of keys is broken.
    """

    def __init__(self, folder: Path, keys: Path | None = None) -> None:
        self.keyring = Keyring(keys or folder / KEYS, named=keys is not None)
        self.ledger = Ledger(folder / SPENDING)
        self.budgets = Budgets(self.ledger.note)

    def __enter__(self) -> Self:
        self.keyring.start()
        for spent in self.ledger.start():
            self.budgets.recall(spent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keyring.close()
        self.ledger.close()
