"""Where the ledger's key comes from: a file beside the other keys, made on first use.

In: the data folder. Out: a ``LedgerKey``. A key store that keeps its keys elsewhere hands the
same bytes to ``LedgerKey`` itself. Losing the key does not lose rows, only the proof that nobody
touched them.
"""

import os
import secrets
from pathlib import Path
from typing import Final

from controlplane.store.chain import LedgerKey
from controlplane.store.errors import StoreError

_FILE: Final = "ledger.key"
_BYTES: Final = 32


class LedgerKeyError(StoreError):
    """The key's file is not there, unusable, or readable by others."""

    code = "ledger-key"


def read_ledger_key(data_dir: Path) -> LedgerKey:
    """Return the key in ``data_dir``.

    Raises:
        LedgerKeyError: there is none, or its file may be read by others or has been damaged.
    """
    path = data_dir / _FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise LedgerKeyError(f"{path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o077:
            raise LedgerKeyError(f"{path} may be read by others: chmod 600")
        if status.st_uid != os.geteuid():
            raise LedgerKeyError(f"{path} belongs to another user")
        text = file.read()
    try:
        return LedgerKey(bytes.fromhex(text.decode("ascii")))
    except ValueError:
        raise LedgerKeyError(f"{path} holds no ledger key") from None


def ledger_key(data_dir: Path) -> LedgerKey:
    """Return the key in ``data_dir``, made there where there is none.

    Raises:
        LedgerKeyError: it can neither be read nor made.
    """
    path = data_dir / _FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = data_dir / f"{_FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, leaves a key that is there already
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    except OSError as error:
        raise LedgerKeyError(f"{path}: {error.strerror}") from error
    return read_ledger_key(data_dir)
