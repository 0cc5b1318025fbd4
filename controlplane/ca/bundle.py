"""The trusted roots, as clients read them: a set of authorities in, PEM and a root file out.

The file is what clients without a cluster verify our serving certificate with. It is a place the
bundle is written to like any other: a new root waits for it (docs/protocol/authorities.md AT-17).
"""

import asyncio
import base64
import textwrap
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controlplane.ca.authority_set import AuthoritySet
from controlplane.ca.file_key_store import replace_file
from controlplane.model.certificate import BundleTarget

FILE_KIND = "File"


def bundle_pem(authorities: AuthoritySet) -> str:
    """Return every trusted root, the longest trusted first, as one text."""
    return "".join(_pem(entry.certificate) for entry in authorities.trusted)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """The root file of one replica."""

    path: Path
    replica_id: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Cluster, kind and name under which it is reported."""
        return ("", FILE_KIND, f"{self.replica_id}/{self.path.name}")

    async def write(self, authorities: AuthoritySet, now: datetime) -> BundleTarget:
        """Write the bundle; return the report, with an error where it could not be written."""
        cluster, kind, name = self.place
        text = bundle_pem(authorities).encode()
        error = ""
        try:
            await asyncio.to_thread(self._replace, text)
        except OSError as failure:
            error = f"cannot write {self.path.name}: {failure.strerror or failure}"
        return BundleTarget(
            cluster=cluster,
            kind=kind,
            name=name,
            bundle_version_written=0 if error else authorities.state.bundle_version,
            written_at=now,
            error=error,
        )

    def _replace(self, text: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Roots are public: whoever shares the machine may verify us.
        replace_file(self.path, text, mode=0o644)


def _pem(der: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
