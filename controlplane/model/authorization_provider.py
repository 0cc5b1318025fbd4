"""Somebody else who decides about requests: whom a waypoint asks for policies of action CUSTOM.

``mesh.authorization_providers`` makes these of the mesh configuration, ``encode.asking_filter``
turns them into filters. docs/protocol/authorization-providers.md.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple


class ProviderProtocol(StrEnum):
    """How a provider is asked: by a copy of the request, or by Envoy's gRPC service."""

    HTTP = "HTTP"
    GRPC = "gRPC"


class AskedBody(NamedTuple):
    """How much of the body a provider is told: up to ``most`` bytes.

    A larger body is refused, unless part of it will do. ``is_binary`` sends it as bytes.
    """

    most: int
    is_partial_enough: bool = False
    is_binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationProvider:
    """How to ask one provider.

    It is the service ``hostname``, of ``namespace`` if that is not "". Without an answer for
    ``seconds`` the request is answered ``error_status``, or passes if ``fails_open``. Names of
    headers are lower case; ``x*`` is a prefix, ``*x`` a suffix.
    """

    DEFAULT_SECONDS: ClassVar[float] = 600.0
    DEFAULT_STATUS: ClassVar[int] = 403

    name: str
    protocol: ProviderProtocol
    hostname: str
    port: int
    namespace: str = ""
    seconds: float = DEFAULT_SECONDS
    fails_open: bool = False
    error_status: int = DEFAULT_STATUS
    clears_routes: bool = False
    path_prefix: str = ""
    asked_headers: tuple[str, ...] = ()
    extra_headers: tuple[tuple[str, str], ...] = ()
    allowed_upstream: tuple[str, ...] = ()
    allowed_downstream: tuple[str, ...] = ()
    denied_downstream: tuple[str, ...] = ()
    body: AskedBody | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachableProvider:
    """A provider as one waypoint reaches it: as a service it serves, or as a foreign one."""

    provider: AuthorizationProvider
    is_served: bool = False
