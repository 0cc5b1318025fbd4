"""The data folder: one process at a time writes keys, ledger and roots there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controlplane.app.errors import StartupError

_LOCK: Final = "process.lock"


@contextmanager
def held_data_folder(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made with owner-only permissions when missing, while the context lasts.

    The lock goes with the process, however it ends.

    Raises:
        StartupError: it cannot be used, or another process holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(folder / _LOCK, flags, 0o600)
    except OSError as error:
        raise StartupError(f"cannot use {folder}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(f"another process uses {folder}") from error
        yield
    finally:
        os.close(descriptor)
