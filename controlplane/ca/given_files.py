"""Files that are given as an authority: their bytes in, certificates and a key out.

``plugged`` and ``istio_secret`` say which file plays which part; ``given`` looks over what is
returned here. Faults name the file and never quote it (docs/protocol/plugged.md PL-5 to PL-8).
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from controlplane.ca.authority import AuthorityKey, key_type_of
from controlplane.ca.errors import GivenAuthorityError

LARGEST: Final = 1024 * 1024
_MOST_CERTIFICATES: Final = 256
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n([^-]*)-----END \1-----", re.ASCII
)
_KEY_LABELS: Final = frozenset({b"PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY"})
_ENCRYPTED: Final = re.compile(
    rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: *4,", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFiles:
    """Bytes by file name, and which name plays which part.

    ``chain`` is "" where there is no such file; a chain may be blank. ``place`` is the folder or
    file they come from.
    """

    place: str
    texts: Mapping[str, bytes] = field(repr=False)
    certificate: str
    key: str
    roots: str
    chain: str = ""

    def named(self, name: str) -> str:
        """Return how a fault names the file."""
        return f"{self.place}/{name}"

    @property
    def digest(self) -> bytes:
        """What is equal for equal files, and tells nothing about them."""
        summary = sha256()
        for name, text in sorted(self.texts.items()):
            summary.update(f"{len(name)} {len(text)} {name}".encode() + text)
        return summary.digest()


def read_file(path: Path) -> bytes:
    """Return the bytes of ``path``; links are followed, as mounted Secrets consist of them.

    Raises:
        GivenAuthorityError: it is no ordinary file, or too large.
        OSError: it cannot be read.
    """
    # Without O_NONBLOCK a pipe would hold us for as long as nobody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise GivenAuthorityError(f"{path} is not an ordinary file")
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise GivenAuthorityError(f"{path} is larger than {LARGEST} bytes")
    return text


def certificates_in(
    files: GivenFiles, name: str, *, may_be_blank: bool = False
) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a file in its order, each once.

    Raises:
        GivenAuthorityError: there is none, or there is anything that is no whole certificate.
    """
    text = files.texts[name]
    where = files.named(name)
    blocks = _blocks(text, where)
    if not blocks:
        if may_be_blank and not text.strip():
            return ()
        raise GivenAuthorityError(f"{where} holds no PEM certificate")
    if any(label != b"CERTIFICATE" for label, _ in blocks):
        # Certificates are handed out: a key that went into the wrong file must not be.
        raise GivenAuthorityError(f"{where} holds something that is not a certificate")
    if len(blocks) > _MOST_CERTIFICATES:
        raise GivenAuthorityError(f"{where} holds more than {_MOST_CERTIFICATES} certificates")
    found: dict[x509.Certificate, None] = {}
    for number, (_, block) in enumerate(blocks, start=1):
        try:
            certificate = x509.load_pem_x509_certificate(block)
            # Both are parsed when they are asked for only.
            certificate.public_key()
            certificate.extensions  # noqa: B018 - reads them
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
            raise GivenAuthorityError(f"certificate {number} of {where} cannot be read") from None
        found[certificate] = None
    return tuple(found)


def key_in(files: GivenFiles) -> AuthorityKey:
    """Return the private key.

    Raises:
        GivenAuthorityError: there is not exactly one, it is encrypted, or no kind we sign with.
    """
    where = files.named(files.key)
    text = files.texts[files.key]
    if _ENCRYPTED.search(text):
        raise GivenAuthorityError(f"the key in {where} is encrypted")
    keys = [block for label, block in _blocks(text, where) if label in _KEY_LABELS]
    if len(keys) != 1:
        raise GivenAuthorityError(f"{where} does not hold exactly one PEM private key")
    try:
        key = load_pem_private_key(keys[0], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # From None here and above: the cause may quote the file.
        raise GivenAuthorityError(f"the private key in {where} cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or not key_type_of(key):
        raise GivenAuthorityError(
            f"the key in {where} is neither P-256, P-384 nor RSA of 2048, 3072 or 4096 bits"
        )
    return key


def _blocks(text: bytes, where: str) -> list[tuple[bytes, bytes]]:
    """Return label and text of every PEM block; what stands between them is commentary."""
    blocks = [(match[1], match[0] + b"\n") for match in _BLOCK.finditer(text)]
    if len(blocks) != len(_BEGIN.findall(text)) or len(blocks) != text.count(b"-----END "):
        raise GivenAuthorityError(f"{where} is damaged: a PEM block does not end as it begins")
    return blocks
