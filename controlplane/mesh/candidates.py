"""Services that objects declare, before it is known which of them wins a hostname.

``services`` and ``service_entries`` make candidates, ``hostnames`` chooses among them.
"""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.mesh.backends import Backend, Origin
from controlplane.mesh.binding import ServiceSubject
from controlplane.model.names import ObjectReference
from controlplane.model.service import Service
from controlplane.model.waypoint_traffic import ServedPort


class CandidateKey(NamedTuple):
    """One object's claim to one hostname."""

    hostname: str
    namespace: str
    origin: Origin
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One claim: the service as declared, without waypoint and never canonical.

    ``created`` is Unix seconds and decides between ServiceEntries; ``field`` is where the
    hostname is written in the object. ``served_ports`` are the ports that a waypoint accepts.
    """

    created: float
    service: Service
    backend: Backend
    subject: ServiceSubject
    field: str = ""
    served_ports: tuple[ServedPort, ...] = ()

    @property
    def key(self) -> CandidateKey:
        """Return the key of the claim."""
        backend = self.backend
        hostname = self.service.hostname
        return CandidateKey(hostname, backend.owner.namespace, backend.origin, backend.owner.name)

    @property
    def owner(self) -> ObjectReference:
        """Return the object that makes the claim."""
        return ObjectReference(self.subject.kind, self.subject.namespace, self.subject.name)

    @property
    def age(self) -> tuple[float, str, str]:
        """Return the sort key of "oldest first"; equal ages go by namespace, then name."""
        return (self.created, self.subject.namespace, self.subject.name)
