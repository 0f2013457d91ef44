"""What lies where in a data folder."""

from __future__ import annotations

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

    def create(self) -> None:
        """Make the folder, for its owner only.

        Raises
        ------
        StoreError
            It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"the data folder {self.path} cannot be made: {error}", hint="choose another one with --data"
            ) from error
