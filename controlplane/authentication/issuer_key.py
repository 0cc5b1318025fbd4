"""The key of the local issuer: a folder in, an ECDSA P-256 key out, made where there is none.

Whoever reads the file can be anybody in the mesh, so it is its owner's alone and never followed
through a link. docs/protocol/authentication.md AU-41.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.errors import IstiodLiteError

FILE: Final = "token-issuer.key"
_LARGEST: Final = 16 * 1024


class IssuerKeyError(IstiodLiteError):
    """The key of the local issuer cannot be used."""

    code = "token-issuer-key"


def load_issuer_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return the key kept in ``folder``, making it (and the folder) when it is not there.

    Raises:
        IssuerKeyError: the file is a link, open to others or theirs, unreadable or no such key.
    """
    path = folder / FILE
    try:
        if not path.is_symlink() and not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path)
        data = _read(path)
        key = serialization.load_pem_private_key(data, password=None)
    except OSError as error:
        raise IssuerKeyError(f"cannot use {path}: {error.strerror or error}") from error
    except (ValueError, TypeError):
        # From None: the message may quote the file.
        raise IssuerKeyError(f"{path} is not an unencrypted PEM key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IssuerKeyError(f"{path} is not an ECDSA P-256 key")
    return key


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise IssuerKeyError(f"{path} must be a file that only its owner can read (mode 0600)")
        if status.st_uid != os.geteuid():
            # Whoever could write to the folder once may have left a key it knows.
            raise IssuerKeyError(f"{path} belongs to another user")
        return file.read(_LARGEST)


def _create(path: Path) -> None:
    """Write a new key so that it is there whole or not at all; the first of two writers wins."""
    key = ec.generate_private_key(ec.SECP256R1())
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(unfinished)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
