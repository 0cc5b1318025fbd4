"""Keys in an encrypted file: a data folder in, a ``KeyStore`` out.

The folder and its files are their owner's alone, links are not followed, and a file is replaced
whole: a crash leaves the old one or the new one. A lock file makes compare-and-replace hold
between processes of one machine (docs/protocol/authorities.md AT-6 to AT-8).
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from controlplane.ca.authority_set import KeptAuthorities
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.key_document import content_of, document_of
from controlplane.ca.key_envelope import KeyOfKeys, Opened
from controlplane.ca.key_store import Kept

FILE: Final = "authorities.sealed"
KEY_FILE: Final = "authorities.key"
_LOCK_FILE: Final = "authorities.lock"
_LARGEST: Final = 8 * 1024 * 1024


class FileKeyStore:
    """The store of ``folder``; its key of keys is a file beside it unless a passphrase is given.

    Nothing is written before the first ``save``.
    """

    def __init__(self, folder: Path, *, passphrase_file: Path | None = None) -> None:
        self._folder = folder
        self._passphrase_file = passphrase_file
        self._key: KeyOfKeys | None = None

    @property
    def reference(self) -> str:
        """The place in a few words."""
        return f"file:{FILE}"

    async def load(self) -> Kept | None:
        """Return what the file holds; None where there is no file.

        Raises:
            KeyStoreError: the file or its key cannot be read, or are open to others.
        """
        return await asyncio.to_thread(self._load)

    async def save(self, content: KeptAuthorities, *, expected: str | None) -> str:
        """Replace the file if it is still at ``expected``; return its new revision.

        Raises:
            KeyStoreConflictError: it is not.
            KeyStoreError: it cannot be written.
        """
        return await asyncio.to_thread(self._save, content, expected)

    def _load(self) -> Kept | None:
        with _readable(self._folder / FILE):
            opened = self._opened()
        if opened is None:
            return None
        return Kept(content=content_of(opened.content), revision=str(opened.revision))

    def _save(self, content: KeptAuthorities, expected: str | None) -> str:
        path = self._folder / FILE
        with _readable(path):
            _own_folder(self._folder)
            with _locked(self._folder / _LOCK_FILE):
                opened = self._opened()
                if (None if opened is None else str(opened.revision)) != expected:
                    raise KeyStoreConflictError(f"{path} has changed since it was read")
                revision = 1 if opened is None else opened.revision + 1
                key = self._key_of_keys(may_make=opened is None)
                replace_file(path, key.seal(document_of(content), revision=revision))
        return str(revision)

    def _opened(self) -> Opened | None:
        data = read_own_file(self._folder / FILE)
        return None if data is None else self._key_of_keys(may_make=False).open(data)

    def _key_of_keys(self, *, may_make: bool) -> KeyOfKeys:
        """Return the key of keys. One is made only where there is nothing it should open."""
        if self._key is None:
            if self._passphrase_file is not None:
                self._key = _from_passphrase(self._passphrase_file)
            else:
                path = self._folder / KEY_FILE
                secret = read_own_file(path)
                if secret is None:
                    if not may_make:
                        raise KeyStoreError(f"{path} is missing: nothing else opens {FILE}")
                    secret = secrets.token_bytes(32)
                    replace_file(path, secret)
                self._key = _key(secret, path, is_passphrase=False)
        return self._key


def read_own_file(path: Path) -> bytes | None:
    """Return the bytes of a file that is its owner's alone; None where there is none.

    Raises:
        KeyStoreError: it is a link, no plain file, or others may read it.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_private = stat.S_ISREG(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o077
        if not is_private or status.st_uid != os.geteuid():
            raise KeyStoreError(f"{path} must be a file that only its owner can read (mode 0600)")
        return file.read(_LARGEST)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Make ``path`` hold ``data``: written beside it, flushed, renamed, the folder flushed.

    Raises:
        OSError: that failed; the old file is as it was.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(unfinished, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _from_passphrase(path: Path) -> KeyOfKeys:
    secret = read_own_file(path)
    if secret is None:
        raise KeyStoreError(f"{path} is missing: it should hold the passphrase of the keys")
    return _key(secret.rstrip(b"\r\n"), path, is_passphrase=True)


def _key(secret: bytes, path: Path, *, is_passphrase: bool) -> KeyOfKeys:
    try:
        return KeyOfKeys(secret, is_passphrase=is_passphrase)
    except ValueError as error:
        raise KeyStoreError(f"{path} cannot be used: {error}") from None


def _own_folder(folder: Path) -> None:
    """Make the folder, or close an existing one of ours to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of the file system into ours, and name the file in ours."""
    try:
        yield
    except KeyStoreConflictError:
        raise
    except KeyStoreError as error:
        text = str(error)
        raise KeyStoreError(text if str(path.parent) in text else f"{path}: {text}") from None
    except OSError as error:
        where = error.filename or path
        raise KeyStoreError(f"cannot use {where}: {error.strerror or error}") from None
