"""The admin token of a process without a cluster: a file only its owner can read.

Who can read the file may as well read the keys beside it. It is made at the first start and stays,
so that scripts keep working; deleting the file and starting again makes another.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from controlplane.errors import IstiodLiteError

FILE_NAME: Final = "admin-token"

_SHORTEST: Final = 20


class AdminTokenError(IstiodLiteError):
    """The file cannot be used, in a sentence."""

    code = "admin-token"


def load_admin_token(folder: Path) -> str:
    """Return the token in ``folder``, made with mode 0600 when there is none.

    Raises:
        AdminTokenError: it cannot be read or made, others may read it, or it is too short.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise AdminTokenError(f"the admin token {path} cannot be used: {error}") from error
    return read_admin_token(folder)


def read_admin_token(folder: Path) -> str:
    """Return the token in ``folder``.

    Raises:
        AdminTokenError: there is none, it cannot be read, others may read it or have made it, or it
            is too short.
    """
    path = folder / FILE_NAME
    try:
        with path.open(encoding="ascii") as file:
            kept = os.fstat(file.fileno())
            if stat.S_IMODE(kept.st_mode) & 0o077:
                raise AdminTokenError(f"{path} may be read by others: make it mode 0600")
            if kept.st_uid != os.geteuid():
                raise AdminTokenError(f"{path} is of another user")
            token = file.read().strip()
    except FileNotFoundError as error:
        raise AdminTokenError(
            f"there is no {path}: it is made when a control plane without a cluster starts"
        ) from error
    except (OSError, UnicodeError) as error:
        raise AdminTokenError(f"the admin token {path} cannot be used: {error}") from error
    if len(token) < _SHORTEST:
        raise AdminTokenError(f"the token in {path} is too short: delete it, another is made")
    return token


def _make(path: Path) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        # Never over one that somebody else has made meanwhile.
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink(missing_ok=True)
