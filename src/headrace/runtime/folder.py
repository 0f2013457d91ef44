"""What lies where in a data folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from headrace.core.errors import StoreError


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder: the database, the board beside it, and the engine's socket."""

    path: Path

    @property
    def database(self) -> Path:
        """The live store."""
        return self.path / "live.db"

    @property
    def board(self) -> Path:
        """The numbers that the engine shares with its readers."""
        return self.path / "board"

    @property
    def socket(self) -> Path:
        """Where the engine takes writes from HTTP workers."""
        return self.path / "engine.sock"

    @property
    def spool(self) -> Path:
        """Temporary files of sources: transactions that are too large for memory."""
        return self.path / "spool"

    def create(self) -> None:
        """Make the folder, for its owner only, and remove what a crash left of temporary files.

        Raises
        ------
        StoreError
            It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.spool.exists():
                shutil.rmtree(self.spool)
            self.spool.mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(
                f"the data folder {self.path} cannot be made: {error}", hint="choose another one with --data"
            ) from error
