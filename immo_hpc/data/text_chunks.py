"""Text files cut into chunks of whole lines, as bytes."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

_END = re.compile(rb"\r\n|\r|\n")


class Chunks:
    """The content of a file, chunk by chunk."""

    def __init__(self, stream: Any, size: int) -> None:
        """Cut ``stream``, which gives bytes, into chunks of about ``size`` bytes."""
        self._stream = stream
        self._size = size
        self._first = b""
        self._rest = b""

    def next(self) -> bytes:
        """The next chunk; it ends with a line, and only the last one may lack the line's end.

        Returns:
            At least one line, however long; nothing after the last one.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        pieces = [self._rest]
        while piece := self._stream.read(self._size):
            at = _last_end(piece)
            if at:
                self._rest = piece[at:]
                return b"".join([*pieces, piece[:at]])
            pieces.append(piece)
        self._rest = b""
        return b"".join(pieces)

    def skip(self, number: int) -> None:
        """Pass over so many lines."""
        while number > 0 and (chunk := self.next()):
            for end in _END.finditer(chunk):
                number -= 1
                if number == 0:
                    self._first = chunk[end.end() :]
                    break


def _last_end(piece: bytes) -> int:
    """Where the last line of ``piece`` that has an end is over; 0 without one."""
    at = piece.rfind(b"\n")
    # The last byte may be the first of the two that end a line.
    return (piece.rfind(b"\r", 0, len(piece) - 1) if at < 0 else at) + 1


class Lines:
    """The lines of chunks as text, with their ends, of which some may be left unread."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """Take ``chunks`` one by one, as their lines are asked for."""
        self._chunks = chunks
        self._lines: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        """Walk over the lines; not all of them need be walked over."""
        while self.at_hand():
            yield self._lines.popleft()

    def at_hand(self) -> int:
        """Lines left of the last chunk taken, or else of the next one; 0 behind the last line."""
        if not self._lines:
            chunk = next(self._chunks, b"")
            self._lines.extend(io.StringIO(chunk.decode(), newline="").readlines())
        return len(self._lines)

    def left(self) -> bytes:
        """What was taken from the chunks and not walked over."""
        return "".join(self._lines).encode()
