"""How a waypoint speaks TLS to the endpoints of a service port.

``mesh.backend_tls`` makes these of BackendTLSPolicies, ``encode.backend_tls`` turns them into
transport sockets. docs/protocol/backend-tls.md.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controlplane.model.names import ObjectReference


class NameKind(StrEnum):
    """What kind of name a certificate carries."""

    HOSTNAME = "Hostname"
    URI = "URI"


class CertificateName(NamedTuple):
    """A name of which the endpoint's certificate has to carry one."""

    kind: NameKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTls:
    """What endpoints have to show, and the name that they are asked by.

    ``authorities`` are PEM certificates, "" stands for those of the waypoint's system. ``names``
    holds at least one. When ``is_usable`` is False nothing may be sent there at all: what was asked
    for cannot be checked.
    """

    policy: ObjectReference
    is_usable: bool = True
    server_name: str = ""
    authorities: str = ""
    names: tuple[CertificateName, ...] = ()
