"""Where the ledger waits while the database is away: one bounded file, in order.

In: entries that could not be written. Out: the same entries, oldest first, once it is back,
across restarts too. The file is readable by its owner only. What does not fit is counted, never
waited for. Not safe for use from several threads or processes.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from controlplane.store.ledger_rows import Entry, entry_from_line

_FILE: Final = "ledger.spool"
_READ_BYTES: Final = 512 * 1024


class Spool:
    """The file of one replica in ``data_dir``, at most ``max_bytes`` long."""

    def __init__(self, data_dir: Path, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = data_dir / _FILE
        self._max_bytes = max_bytes
        self._size = self._path.stat().st_size if self._path.exists() else 0
        self._taken = 0
        self._torn = False

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait to be written."""
        return self._size - self._taken

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return self._taken >= self._size

    def append(self, entries: Sequence[Entry]) -> int:
        """Add entries at the end; return how many of them did not fit.

        Raises:
            OSError: the file cannot be written; what was written of these entries is skipped
                when it is read.
        """
        lines = [entry.line() + b"\n" for entry in entries]
        room = self._max_bytes - self._size
        fitting = 0
        for line in lines:
            room -= len(line)
            if room < 0:
                break
            fitting += 1
        if fitting:
            self._write(b"".join(lines[:fitting]))
        return len(lines) - fitting

    def peek(self, limit: int) -> tuple[tuple[Entry, ...], int]:
        """Return up to ``limit`` of the oldest entries and the number of bytes they take.

        Lines that a crash left unfinished take bytes and yield nothing.
        """
        if self.is_empty:
            return (), 0
        with self._path.open("rb") as file:
            file.seek(self._taken)
            content = file.read(_READ_BYTES)
        entries: list[Entry] = []
        taken = 0
        for line in content.splitlines(keepends=True):
            if len(entries) == limit:
                break
            if not line.endswith(b"\n") and taken + len(line) < self.waiting_bytes:
                break  # the rest of this line is beyond what was read
            taken += len(line)
            try:
                entries.append(entry_from_line(line))
            except ValueError:
                continue
        return tuple(entries), taken

    def take(self, size: int) -> None:
        """Forget the oldest ``size`` bytes; the file goes when nothing is left."""
        self._taken += size
        if self.is_empty:
            self._path.unlink(missing_ok=True)
            self._size = self._taken = 0

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
            if self._torn or self._ends_unfinished():
                content = b"\n" + content
            self._torn = True
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            self._torn = False
            self._size = os.fstat(file.fileno()).st_size

    def _ends_unfinished(self) -> bool:
        """Tell whether the last line has no end, as after a crash in the middle of a write."""
        if self._size == 0:
            return False
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
