"""Whether this process serves, in words: everything that can keep it from that is asked here.

Ready is who has the whole mesh and can sign. An API server that goes away later changes nothing
about that: what is known stays in force and is served, and since when it is old is said
(docs/protocol/replicas.md RP-8 to RP-10).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controlplane.app.cluster_observation import leads, stale, troubled, unread
from controlplane.app.mesh import Mesh
from controlplane.clock import Clock

if TYPE_CHECKING:
    from controlplane.app.certificates import Certificates
    from controlplane.app.cluster import Cluster
    from controlplane.app.key_sets import KeyFetching
    from controlplane.app.writers import Writers

_NAMED: Final = 5


class Readiness:
    """What the parts say; those that are not there yet are None."""

    def __init__(self, mesh: Mesh, folder: Path, clock: Clock) -> None:
        self._mesh = mesh
        self._folder = folder
        self._clock = clock
        self.cluster: Cluster | None = None
        self.certificates: Certificates | None = None
        self.writers: Writers | None = None
        self.key_sets: KeyFetching | None = None
        self.is_open = False
        self.is_stopping = False

    def waiting_for(self) -> list[str]:
        """Return what keeps the process from serving, a sentence each; empty when it serves."""
        reasons = []
        if not self.is_open:
            awaits = "" if self.cluster is None else self.cluster.awaits
            reasons.append("the ports are not open yet" + (f": {awaits}" if awaits else ""))
        if self.is_stopping:
            reasons.append("the process is shutting down")
        reason = self.why_incomplete()
        if reason is not None:
            reasons.append(reason)
        unfit = "the authorities are not loaded yet"
        if self.certificates is not None:
            unfit = self.certificates.unfit_reason() or ""
        if unfit:
            reasons.append(f"no certificate can be issued: {unfit}")
        return reasons

    def details(self) -> list[str]:
        """Return what is worth knowing besides, a sentence each."""
        authorities = () if self.certificates is None else self._authorities(self.certificates)
        if self.cluster is None:
            return [*authorities]
        writers = self.writers
        return [
            *authorities,
            leads(self.cluster.leadership, self.cluster.lead),
            *(stale(self.cluster.source.states, self._clock.monotonic())),
            *(() if writers is None else troubled(writers.controllers)),
        ]

    def _authorities(self, certificates: "Certificates") -> Iterator[str]:
        """Yield what is wrong with them while they go on signing."""
        awaits = certificates.preparation.awaits
        if awaits:
            yield f"this replica leads only when the database is there, and waits for it: {awaits}"
        if certificates.trouble and certificates.unfit_reason() is None:
            yield f"the authorities stay as they are: {certificates.trouble}"
        configured, issued = self._mesh.configured.trust_domain, certificates.trust_domain
        if self._mesh.is_complete and configured != issued:
            yield (
                f"certificates are issued for trust domain {issued}, but the mesh configuration "
                f"says {configured}"
            )

    def why_incomplete(self) -> str | None:
        """Return why the mesh is not known whole; None when it is."""
        if self._mesh.is_complete:
            return None if self.key_sets is None else self.key_sets.why_awaited()
        if self.cluster is None:
            missing = [found.message for found in self._mesh.problems.current if not found.object]
            return "; ".join([f"the manifests in {self._folder} have not been read yet", *missing])
        kinds = unread(self.cluster.source.states)
        if not kinds:
            return "the objects of the cluster have not been read yet"
        more = (f"and {len(kinds) - _NAMED} more kinds",) if len(kinds) > _NAMED else ()
        return "; ".join((*kinds[:_NAMED], *more))
