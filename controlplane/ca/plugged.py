"""An authority in a folder, as istio users plug one in: files in, a ``SignerSource`` out.

We sign with it and leave its rotation to whoever owns it: a new intermediate below the same roots
is taken up while we run, other roots are not (docs/protocol/authorities.md AT-44 to AT-47).
"""

from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given import GivenFiles, signer_of
from controlplane.ca.signer import SignerSnapshot
from controlplane.clock import Clock

_log = structlog.get_logger()

_ISTIO: Final = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
_KUBERNETES: Final = ("tls.crt", "tls.key", "ca.crt")
_REVOCATIONS: Final = "ca-crl.pem"
_LARGEST: Final = 1024 * 1024


def plugged_files(folder: Path) -> GivenFiles | None:
    """Return the files of a plugged-in authority in either form; None where there are none of any.

    Raises:
        GivenAuthorityError: some of them are missing or cannot be read; the text names them.
    """
    if (folder / "tls.crt").exists():
        texts = _read(folder, _KUBERNETES)
        return GivenFiles(
            place=str(folder), texts=texts, certificate="tls.crt", key="tls.key", roots="ca.crt"
        )
    present = [name for name in (*_ISTIO, "tls.key") if (folder / name).exists()]
    if not present:
        return None
    texts = _read(folder, _ISTIO)
    revocations = _REVOCATIONS if (folder / _REVOCATIONS).exists() else ""
    if revocations:
        texts |= _read(folder, (revocations,))
    return GivenFiles(
        place=str(folder),
        texts=texts,
        certificate="ca-cert.pem",
        key="ca-key.pem",
        chain="cert-chain.pem",
        roots="root-cert.pem",
        revocations=revocations,
    )


class PluggedAuthority:
    """Signs with what is in a folder. Implements ``SignerSource``.

    ``accepts_more_roots`` lets the roots change while we run, as long as one of the old and new
    sets contains the other.

    Raises:
        GivenAuthorityError: what is there cannot be used. Later faults leave it in force.
    """

    def __init__(
        self,
        folder: Path,
        *,
        trust_domain: str,
        clock: Clock,
        accepts_more_roots: bool = False,
        poll: float = 5.0,
    ) -> None:
        self._folder = folder
        self._trust_domain = trust_domain
        self._clock = clock
        self._accepts_more_roots = accepts_more_roots
        self._poll = poll
        self._problem = ""
        self._files = _files_in(folder)
        self._snapshot = self._signer(self._files, 1)

    def current(self) -> SignerSnapshot | None:
        """Return what signs; None once it has expired."""
        return None if self._snapshot.not_after <= self._clock.now() else self._snapshot

    def unfit_reason(self) -> str:
        """Return why ``current`` returns None."""
        return f"the authority in {self._folder} has expired"

    @property
    def problem(self) -> str:
        """What keeps the present files from being used; "" when they are."""
        return self._problem

    async def run(self) -> None:
        """Take up new files until cancelled."""
        while True:
            await self._clock.sleep(self._poll)
            self.look()

    def look(self) -> None:
        """Take up the files if they changed and are whole; else what is in force stays."""
        problem = ""
        try:
            files = _files_in(self._folder)
            if _digest(files) != _digest(self._files):
                self._take_up(files)
        except GivenAuthorityError as error:
            problem = str(error)
            if problem != self._problem:
                _log.warning("authorities.files-refused", reason=problem)
        self._problem = problem

    def _take_up(self, files: GivenFiles) -> None:
        signer = self._signer(files, self._snapshot.generation + 1)
        old, new = files_roots(self._snapshot), files_roots(signer)
        if old != new and not (self._accepts_more_roots and (old <= new or new <= old)):
            raise GivenAuthorityError(
                f"{files.named(files.roots)} holds other roots than at the start: start anew to "
                "use them, once everybody trusts both"
            )
        self._files, self._snapshot = files, signer
        _log.info(
            "authorities.files-loaded",
            authority=signer.authority_id[:8],
            not_after=signer.not_after.isoformat(),
        )

    def _signer(self, files: GivenFiles, generation: int) -> SignerSnapshot:
        return signer_of(
            files,
            trust_domain=self._trust_domain,
            generation=generation,
            now=self._clock.now(),
        )


def files_roots(snapshot: SignerSnapshot) -> frozenset[str]:
    """Return the trusted roots, one PEM text each."""
    end = "-----END CERTIFICATE-----\n"
    return frozenset(part + end for part in snapshot.bundle.split(end) if part)


def _files_in(folder: Path) -> GivenFiles:
    files = plugged_files(folder)
    if files is None:
        raise GivenAuthorityError(f"{folder} holds no authority: {', '.join(_ISTIO)}")
    return files


def _read(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    texts = {}
    missing = []
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                texts[name] = file.read(_LARGEST)
        except FileNotFoundError:
            missing.append(name)
        except OSError as error:
            raise GivenAuthorityError(
                f"cannot read {folder / name}: {error.strerror or error}"
            ) from None
    if missing:
        raise GivenAuthorityError(
            f"the authority in {folder} is not complete: {', '.join(missing)} is missing"
        )
    return texts


def _digest(files: GivenFiles) -> str:
    summary = sha256()
    for name, text in sorted(files.texts.items()):
        summary.update(f"{name} {len(text)} ".encode() + text)
    return summary.hexdigest()
