"""A file -> its bytes, or the Problem that says why not.

Never blocks on a pipe and never reads more than the limit; a file that changes while it is read is
read again.
"""

import os
import stat
from typing import Final

from controlplane.model.problem import Problem, Severity
from controlplane.sources.walking import Signature, signature_of

_ATTEMPTS: Final = 3


def read_text(file: str, limit: int) -> tuple[bytes, Signature] | Problem:
    """Return the bytes of ``file`` and their signature; at most ``limit`` + 1 bytes are read."""
    try:
        for _ in range(_ATTEMPTS):
            content, before, after = _read(file, limit)
            if before == after:
                break
    except OSError as error:
        return _unreadable(file, error.strerror or "unknown error")
    if content is None:
        return _unreadable(file, "it is not an ordinary file")
    return content, after


def _read(file: str, limit: int) -> tuple[bytes | None, Signature, Signature]:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        before = signature_of(status)
        if not stat.S_ISREG(status.st_mode):
            return None, before, before
        content = opened.read(limit + 1)
        return content, before, signature_of(os.fstat(descriptor))


def _unreadable(file: str, reason: str) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code="files.unreadable-file",
        message=f"the file cannot be read ({reason})",
        file=file,
    )
