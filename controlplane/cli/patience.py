"""A sign of life on the terminal of whoever waits: nothing at first, nothing when piped."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console

SECONDS: Final = 2.0
"""So long nobody needs to be told that something goes on."""


class Patience:
    """Shows ``text`` and a spinner while something takes long; ``after`` seconds all in all."""

    def __init__(self, text: str, *, after: float = SECONDS) -> None:
        self._text = text
        self._shown_from = time.monotonic() + after

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Show it until the end of the block; the terminal is as before then."""
        if not sys.stderr.isatty():
            yield
            return
        status = Console(stderr=True).status(self._text)
        timer = threading.Timer(max(0.0, self._shown_from - time.monotonic()), status.start)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            status.stop()
