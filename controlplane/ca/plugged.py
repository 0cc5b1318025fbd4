"""An authority in a folder, as istio users plug one in: a folder in, a ``SignerSource`` out.

Two forms of the folder are known: istio's own names, and those of a Secret for TLS
(docs/protocol/plugged.md PL-1 to PL-4). ``given`` looks the files over.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from controlplane.ca.errors import GivenAuthorityError
from controlplane.ca.given_authority import GivenAuthority
from controlplane.ca.given_files import GivenFiles, read_file
from controlplane.clock import Clock

_log = structlog.get_logger()

_ISTIO: Final = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
_TLS: Final = ("tls.crt", "tls.key", "ca.crt")
_REVOCATIONS: Final = "ca-crl.pem"


class PluggedAuthority(GivenAuthority):
    """Signs with what is in a folder, and with what is put there later.

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
        super().__init__(
            _Folder(folder),
            trust_domain=trust_domain,
            clock=clock,
            accepts_more_roots=accepts_more_roots,
            poll=poll,
        )
        if (folder / _REVOCATIONS).exists():
            _log.warning("authorities.revocations-ignored", file=str(folder / _REVOCATIONS))


def plugged_files(folder: Path) -> GivenFiles | None:
    """Return the files of a plugged-in authority; None where there is not one of them.

    Raises:
        GivenAuthorityError: some of them are missing or cannot be read; the text names them.
    """
    try:
        present = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return None
    except OSError as error:
        # An authority nobody can see is no reason to make another.
        raise GivenAuthorityError(f"cannot read {folder}: {error.strerror or error}") from None
    if "tls.crt" in present or (present.isdisjoint(_ISTIO) and not present.isdisjoint(_TLS)):
        return GivenFiles(
            place=str(folder),
            texts=_read(folder, _TLS),
            certificate="tls.crt",
            key="tls.key",
            roots="ca.crt",
        )
    if present.isdisjoint(_ISTIO):
        return None
    return GivenFiles(
        place=str(folder),
        texts=_read(folder, _ISTIO),
        certificate="ca-cert.pem",
        key="ca-key.pem",
        chain="cert-chain.pem",
        roots="root-cert.pem",
    )


@dataclass(frozen=True, slots=True)
class _Folder:
    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder)

    def stamp(self) -> Hashable:
        return tuple(stamp_of(self.folder / name) for name in (*_ISTIO, *_TLS))

    def read(self) -> GivenFiles:
        files = plugged_files(self.folder)
        if files is None:
            raise GivenAuthorityError(f"{self.folder} holds no authority: {', '.join(_ISTIO)}")
        return files


def stamp_of(path: Path) -> Hashable:
    """Return what changes when ``path`` is written or replaced; None where it is not."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    texts = {}
    missing = []
    for name in names:
        try:
            texts[name] = read_file(folder / name)
        except FileNotFoundError:
            missing.append(name)
        except OSError as error:
            raise GivenAuthorityError(
                f"cannot read {folder / name}: {error.strerror or error}"
            ) from None
    if missing:
        raise GivenAuthorityError(
            f"the authority in {folder} is incomplete, missing: {', '.join(missing)}"
        )
    return texts
