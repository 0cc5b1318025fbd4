"""The self-signed authority of an istio installation: its Secret in, a ``SignerSource`` out.

A mesh moves over without a new root: everybody trusts this one already. It signs leaves itself,
one tier, for as long as it is used (docs/protocol/plugged.md PL-24 to PL-26).
"""

import base64
import binascii
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.given_files import GivenFiles, read_file
from controlplane.ca.plugged import stamp_of
from controlplane.clock import Clock
from controlplane.manifests.documents import Limits, PlainDocument
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.read_json import read_json
from controlplane.manifests.read_yaml import read_yaml

_CERTIFICATE: Final = "ca-cert.pem"
_KEY: Final = "ca-key.pem"
_LIMITS: Final = Limits(values=100_000, documents=100)


class IstioSecretAuthority(GivenAuthority):
    """Signs with the authority of an ``istio-ca-secret``.

    ``path`` is the Secret as a manifest in YAML or JSON, or a folder with its entries as files.
    Its certificate is the root: the Secret's own ``root-cert.pem`` is out of date once istio has
    renewed the certificate, and istio does not use it either.

    Raises:
        GivenAuthorityError: it cannot be used; the text names the file.
    """

    def __init__(self, path: Path, *, trust_domain: str, clock: Clock, poll: float = 5.0) -> None:
        super().__init__(_Secret(path), trust_domain=trust_domain, clock=clock, poll=poll)


@dataclass(frozen=True, slots=True)
class _Secret:
    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    def stamp(self) -> Hashable:
        paths = (self.path, self.path / _CERTIFICATE, self.path / _KEY)
        return tuple(stamp_of(path) for path in paths)

    def read(self) -> GivenFiles:
        path = self.path
        try:
            if path.is_dir():
                texts = {name: read_file(path / name) for name in (_CERTIFICATE, _KEY)}
            else:
                texts = _entries(read_file(path), path)
        except OSError as error:
            raise GivenAuthorityError(
                f"cannot read {error.filename}: {error.strerror or error}"
            ) from None
        return GivenFiles(
            place=str(path), texts=texts, certificate=_CERTIFICATE, key=_KEY, roots=_CERTIFICATE
        )


def _entries(text: bytes, path: Path) -> dict[str, bytes]:
    """Return certificate and key of the one Secret in a manifest."""
    secrets = [
        each
        for each in _documents(text, path)
        if isinstance(each.value, dict) and each.value.get("kind") == "Secret"
    ]
    if len(secrets) != 1:
        raise GivenAuthorityError(f"{path} does not hold exactly one Secret")
    if secrets[0].faults:
        raise GivenAuthorityError(f"the Secret in {path} can be read in more than one way")
    value: dict[str, Any] = secrets[0].value
    data, plain = value.get("data") or {}, value.get("stringData") or {}
    if not (isinstance(data, dict) and isinstance(plain, dict)):
        raise GivenAuthorityError(f"data of the Secret in {path} is not a mapping")
    return {name: _entry(name, data, plain, path) for name in (_CERTIFICATE, _KEY)}


def _entry(name: str, data: Mapping[str, Any], plain: Mapping[str, Any], path: Path) -> bytes:
    # The API server lets plain entries win as well.
    found = plain.get(name, data.get(name))
    if not found:
        raise GivenAuthorityError(f"the Secret in {path} has no {name}")
    if not isinstance(found, str):
        raise GivenAuthorityError(f"{name} of the Secret in {path} is not a text")
    try:
        if name in plain:
            return found.encode()
        return base64.b64decode("".join(found.split()), validate=True)
    except (binascii.Error, ValueError):
        # From None: the cause may quote the entry.
        raise GivenAuthorityError(f"{name} of the Secret in {path} is not base64") from None


def _documents(text: bytes, path: Path) -> tuple[PlainDocument, ...]:
    try:
        decoded = text.decode("utf-8-sig")
        read = read_json if decoded.lstrip().startswith("{") else read_yaml
        steps = read(decoded, _LIMITS)
        while True:
            next(steps)
    except StopIteration as finished:
        documents: tuple[PlainDocument, ...] = finished.value
        return documents
    except UnreadableTextError as error:
        line = "" if error.line is None else f", line {error.line}"
        raise GivenAuthorityError(f"{path}{line}: cannot be read as YAML or JSON") from None
    except UnicodeError:
        raise GivenAuthorityError(f"{path} is not text") from None
