"""Where the ledger's key comes from: a file beside the other keys, made on first use, or one given.

In: the data folder, or the file's path. Out: a ``LedgerKey``. Several processes that share a
database share the key too: in a cluster it is in a Secret (``secret_ledger_key``), elsewhere each
is given the same file. Losing the key does not lose rows, only the proof that nobody touched them.
"""

import os
import secrets
from pathlib import Path
from typing import Final

from controlplane.store.chain import LedgerKey
from controlplane.store.errors import StoreError

_FILE: Final = "ledger.key"
_LARGEST: Final = 1024
KEY_BYTES: Final = 32
"""How long a key is that is made here."""


class LedgerKeyError(StoreError):
    """The key is not where it should be, unusable, or readable by others."""

    code = "ledger-key"


class LedgerKeyAwayError(LedgerKeyError):
    """Whoever keeps the key cannot be asked for it now."""

    code = "ledger-key-away"


def decoded_key(text: bytes, place: object) -> LedgerKey:
    """Return the key that ``text`` is: at least 32 bytes in hexadecimal, white space around it.

    Raises:
        LedgerKeyError: it is something else; the sentence names ``place`` alone.
    """
    try:
        return LedgerKey(bytes.fromhex(text.decode("ascii")))
    except ValueError:
        raise LedgerKeyError(f"{place} holds no ledger key") from None


def read_key_file(path: Path) -> LedgerKey:
    """Return the key in the file at ``path``.

    Raises:
        LedgerKeyError: there is none, or it may be read by others, or it has been damaged.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerKeyError(f"the ledger's key, {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o077:
            raise LedgerKeyError(f"{path} may be read by others: chmod 600")
        if status.st_uid != os.geteuid():
            raise LedgerKeyError(f"{path} belongs to another user")
        try:
            text = file.read(_LARGEST)
        except OSError as error:
            raise LedgerKeyError(f"the ledger's key, {path}: {error.strerror}") from error
    return decoded_key(text, path)


def read_ledger_key(data_dir: Path) -> LedgerKey:
    """Return the key in ``data_dir``; raises what ``read_key_file`` does."""
    return read_key_file(data_dir / _FILE)


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
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
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
