"""Bytes that nobody reads without the key of keys: a secret and content in, an envelope out.

AES-256-GCM with a content key of its own for every envelope; the content key is wrapped with the
key of keys, which is a file of random bytes or comes from a passphrase by scrypt. Everything an
envelope says about itself is authenticated (docs/protocol/authorities.md AT-7).
"""

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from controlplane.ca.errors import KeyStoreError

_FORMAT: Final = "istiod-lite authorities 1"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SCRYPT: Final = {"n": 2**15, "r": 8, "p": 1}
_LARGEST_SCRYPT: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What was in an envelope, and the revision written on it."""

    content: bytes
    revision: int

    def __repr__(self) -> str:
        return f"Opened(revision={self.revision})"


class KeyOfKeys:
    """The secret that opens envelopes. Shows nothing of itself and cannot be pickled.

    Raises:
        ValueError: a random key that has not 32 bytes, or an empty passphrase.
    """

    __slots__ = ("_derived", "_is_passphrase", "_secret")

    def __init__(self, secret: bytes, *, is_passphrase: bool) -> None:
        if is_passphrase and not secret:
            raise ValueError("the passphrase is empty")
        if not is_passphrase and len(secret) != _KEY_BYTES:
            raise ValueError(f"the key has {len(secret)} bytes, not {_KEY_BYTES}")
        self._secret = secret
        self._is_passphrase = is_passphrase
        self._derived: tuple[bytes, bytes] | None = None

    def __repr__(self) -> str:
        return "KeyOfKeys(...)"

    def __reduce__(self) -> str:
        raise TypeError("a key of keys stays where it is")

    def seal(self, content: bytes, *, revision: int) -> bytes:
        """Return an envelope of ``content``."""
        header: dict[str, Any] = {"format": _FORMAT, "revision": revision, "source": "file"}
        if self._is_passphrase:
            salt = self._derived[0] if self._derived else secrets.token_bytes(16)
            header |= {"source": "passphrase", "scrypt": {**_SCRYPT, "salt": _text(salt)}}
        authenticated = _canonical(header)
        content_key = AESGCM.generate_key(bit_length=256)
        return json.dumps(
            {
                "header": header,
                "key": _text(_encrypt(self._wrapping_key(header), content_key, authenticated)),
                "content": _text(_encrypt(content_key, content, authenticated)),
            }
        ).encode()

    def open(self, envelope: bytes) -> Opened:
        """Return what ``seal`` put into ``envelope``.

        Raises:
            KeyStoreError: it is no envelope, was changed, or another secret opens it.
        """
        try:
            read: dict[str, Any] = json.loads(envelope)
            header = read["header"]
            wrapped, sealed = _bytes(read["key"]), _bytes(read["content"])
            if header["format"] != _FORMAT or not isinstance(header["revision"], int):
                raise KeyStoreError("it was written by another version")
            if (header["source"] == "passphrase") is not self._is_passphrase:
                raise KeyStoreError(f"it is sealed with a {header['source']}")
            authenticated = _canonical(header)
            content_key = _decrypt(self._wrapping_key(header), wrapped, authenticated)
            content = _decrypt(content_key, sealed, authenticated)
        except InvalidTag:
            raise KeyStoreError("it was changed, or sealed with another secret") from None
        except (ValueError, TypeError, KeyError):
            raise KeyStoreError("it is not an envelope of keys") from None
        return Opened(content=content, revision=header["revision"])

    def _wrapping_key(self, header: dict[str, Any]) -> bytes:
        if not self._is_passphrase:
            return self._secret
        parameters = header["scrypt"]
        salt = _bytes(parameters["salt"])
        if self._derived is None or self._derived[0] != salt:
            n, r, p = (int(parameters[name]) for name in ("n", "r", "p"))
            # Whoever can write the file must not choose a cheap derivation, nor an endless one.
            if not _SCRYPT["n"] <= n <= _LARGEST_SCRYPT or (r, p) != (_SCRYPT["r"], _SCRYPT["p"]):
                raise ValueError("parameters out of range")
            derived = Scrypt(salt=salt, length=_KEY_BYTES, n=n, r=r, p=p).derive(self._secret)
            self._derived = (salt, derived)
        return self._derived[1]


def _encrypt(key: bytes, plain: bytes, authenticated: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, authenticated)


def _decrypt(key: bytes, sealed: bytes, authenticated: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], authenticated)


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
