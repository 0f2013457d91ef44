"""The text format of COPY: bytes with borders anywhere in, columns of cells out."""

from __future__ import annotations

from headrace.sources.postgres.messages import Cell


class CopyText:
    """Reads what `COPY ... TO STDOUT` sends.

    Parameters
    ----------
    width
        How many columns are copied.
    """

    def __init__(self, width: int) -> None:
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Take in bytes; cheap, nothing is read yet."""
        raise NotImplementedError

    def take(self) -> list[list[Cell]]:
        """The columns of all rows that are complete, `width` lists of equal length; what is left waits for more bytes.

        Raises
        ------
        SourceError
            A row has another number of columns.
        """
        raise NotImplementedError

    def close(self) -> None:
        """All bytes were fed and taken.

        Raises
        ------
        SourceError
            Half a row is left.
        """
        raise NotImplementedError
