"""Reads an event stream: Server-Sent Events (HTML Living Standard, section 9.2.6).

It takes bytes and does no I/O, so that the synchronous and the asynchronous client share it. Unlike the parsers on
PyPI, it reports the last block of a stream without its empty line: there the daemon says why the stream ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ._retry import MAX_PAUSE

#: The most bytes of one line. The daemon's own limit of an event is far below (`max_event_bytes`).
MAX_LINE_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Block:
    """One block of an event stream."""

    event: str = ""
    data: str = ""
    #: The last `id` of the stream so far.
    id: str = ""


class Parser:
    """Reads one event stream."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        #: When the daemon asks clients to come back, in seconds. At most `MAX_PAUSE`.
        self.retry: float | None = None

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Takes the next bytes, and yields the blocks that are complete. Read it to its end before the next call.

        Raises `ValueError` if a line is too long, or is not UTF-8.
        """
        self._rest += chunk
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line of the event stream has more than {MAX_LINE_BYTES} bytes")
        for line in lines:
            block = self._line(line.removesuffix(b"\r").decode())
            if block is not None:
                yield block

    def end(self) -> Block:
        """The block that is not complete at the end of the stream. Empty if there is none."""
        return Block(self._event, "\n".join(self._data), self._id)

    def _line(self, line: str) -> Block | None:
        if line == "":
            block = self.end()
            self._event, self._data = "", []
            return block if block.event else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = min(float(value) / 1000, MAX_PAUSE)
        return None
