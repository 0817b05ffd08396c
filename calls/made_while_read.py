"""Files of which the content is made while it is read."""

import io
from typing import Any


class MadeWhileRead(io.RawIOBase):
    """Reads from any position. A subclass sets ``size``, ``name``, and says what stands where (``_piece_at``)."""

    size: int
    """Bytes of the content."""
    name: str

    def __init__(self) -> None:
        self._position = 0

    def _piece_at(self, position: int) -> bytes:
        """Some bytes of the content from a position before its end on."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"There is nothing before the beginning of {self.name}.")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        if self._position >= self.size:
            return 0
        piece = self._piece_at(self._position)[: len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)
