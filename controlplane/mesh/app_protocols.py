"""Which protocol the application behind a port speaks.

A port of a Service or ServiceEntry comes in, an ``AppProtocol`` goes out to the services.
docs/protocol/services.md, SV-13 to SV-15.
"""

from typing import Final

from controlplane.manifests.core import ServicePort
from controlplane.model.workload import AppProtocol

_KUBERNETES_NAMES: Final = {
    "kubernetes.io/h2c": "http2",
    "kubernetes.io/ws": "http",
    "kubernetes.io/wss": "https",
}
_PROTOCOLS: Final = {
    "http": AppProtocol.HTTP11,
    "http2": AppProtocol.HTTP2,
    "grpc": AppProtocol.GRPC,
    "https": AppProtocol.TLS,
    "tls": AppProtocol.TLS,
    "tcp": AppProtocol.TCP,
    # Known, but with no value of their own on the wire.
    "udp": AppProtocol.UNKNOWN,
    "http_proxy": AppProtocol.UNKNOWN,
    "mongo": AppProtocol.UNKNOWN,
    "redis": AppProtocol.UNKNOWN,
    "mysql": AppProtocol.UNKNOWN,
}
_SERVER_FIRST_PORTS: Final = frozenset({25, 53, 3306, 27017})


def service_port_protocol(port: ServicePort) -> AppProtocol:
    """Return the protocol of a Service port: its ``appProtocol``, else what its name says."""
    if port.protocol == "UDP":
        return AppProtocol.UNKNOWN
    asked = (_KUBERNETES_NAMES.get(port.app_protocol) or port.app_protocol or port.name).lower()
    if asked.startswith("grpc-web"):
        return AppProtocol.UNKNOWN
    known = _PROTOCOLS.get(asked.partition("-")[0])
    if known is not None:
        return known
    # SMTP, DNS, MySQL and MongoDB wait for the server to speak first.
    return AppProtocol.TCP if port.port in _SERVER_FIRST_PORTS else AppProtocol.UNKNOWN


def entry_port_protocol(protocol: str) -> AppProtocol:
    """Return the protocol of a ServiceEntry port, which is named outright."""
    return _PROTOCOLS.get(protocol.lower(), AppProtocol.UNKNOWN)
