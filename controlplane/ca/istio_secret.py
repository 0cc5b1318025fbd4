"""The self-signed authority of an istio installation: its Secret in, a ``SignerSource`` out.

A mesh moves over without a new root: everybody trusts this one already. It signs leaves itself,
one tier, for as long as it is used (docs/protocol/authorities.md AT-48, AT-49).
"""

import base64
import binascii
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given import GivenFiles, signer_of
from controlplane.ca.signer import SignerSnapshot
from controlplane.clock import Clock

_CERTIFICATE: Final = "ca-cert.pem"
_KEY: Final = "ca-key.pem"
_LARGEST: Final = 1024 * 1024


class IstioSecretAuthority:
    """Signs with the authority of an ``istio-ca-secret``. Implements ``SignerSource``.

    ``path`` is the Secret as a YAML or JSON manifest, or a folder with its entries as files.

    Raises:
        GivenAuthorityError: it cannot be used; the text names the file.
    """

    def __init__(self, path: Path, *, trust_domain: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        texts = _from_folder(path) if path.is_dir() else _from_manifest(path)
        files = GivenFiles(
            place=str(path), texts=texts, certificate=_CERTIFICATE, key=_KEY, roots=_CERTIFICATE
        )
        self._snapshot: SignerSnapshot = signer_of(
            files, trust_domain=trust_domain, generation=1, now=clock.now()
        )

    def current(self) -> SignerSnapshot | None:
        """Return what signs; None once it has expired."""
        return None if self._snapshot.not_after <= self._clock.now() else self._snapshot

    def unfit_reason(self) -> str:
        """Return why ``current`` returns None."""
        return f"the authority in {self._path} has expired"


def _from_folder(folder: Path) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in (_CERTIFICATE, _KEY)}
    except OSError as error:
        raise GivenAuthorityError(
            f"cannot read {error.filename}: {error.strerror or error}"
        ) from None


def _from_manifest(path: Path) -> dict[str, bytes]:
    try:
        text = path.read_bytes()[:_LARGEST]
    except OSError as error:
        raise GivenAuthorityError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        manifest: Any = yaml.safe_load(text)
        data, plain = manifest.get("data") or {}, manifest.get("stringData") or {}
        if manifest.get("kind") != "Secret":
            raise GivenAuthorityError(f"{path} is not a Secret")
        texts = {
            name: plain[name].encode()
            if name in plain
            else base64.b64decode(data[name], validate=True)
            for name in (_CERTIFICATE, _KEY)
        }
    except KeyError as error:
        raise GivenAuthorityError(f"the Secret in {path} has no {error}") from None
    except (yaml.YAMLError, AttributeError, TypeError, binascii.Error, UnicodeError):
        # From None: the cause may quote the file.
        raise GivenAuthorityError(f"{path} cannot be read as a Secret") from None
    return texts
