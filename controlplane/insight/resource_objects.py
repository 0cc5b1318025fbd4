"""From the name of a resource to the object it was made of.

Node proxies refuse resources by name; people know objects. Pure; the forms of names are those of
docs/protocol/messages.md and docs/protocol/workloads.md.
"""

from collections.abc import Callable
from typing import Final

from controlplane.mesh.peer_authentication import CONVERTED_PREFIX, STATIC_STRICT
from controlplane.mesh.waypoint_admission import NAME_PREFIX
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.snapshots.scope import AUTHORIZATION_TYPE, WAYPOINT_TYPES

_SPLIT_HORIZON: Final = "SplitHorizonWorkload"
_UID_PARTS: Final = 5

ServiceOwner = Callable[[ServiceName], ObjectReference | None]
"""Tells which object a hostname comes from; ServiceEntries cannot be told by the hostname."""


def object_of(
    type_url: str, name: str, owner_of: ServiceOwner = lambda _: None
) -> ObjectReference | None:
    """Return the object that resource ``name`` of a type was made of.

    None for what no single object stands behind: the policy of everybody who is strict, gateways of
    other networks, hostnames that neither ``owner_of`` knows nor a Service could have. Of what a
    waypoint is sent more can be told where the waypoint is known (``waypoint_snapshot``).
    """
    if type_url == AUTHORIZATION_TYPE:
        return _of_policy(name)
    if type_url in WAYPOINT_TYPES:
        return _of_hostname(name.rpartition("|")[2])
    parts = name.split("/")
    if len(parts) >= _UID_PARTS:
        return _of_workload(parts)
    if len(parts) == 2 and all(parts):
        return _of_service(ServiceName(*parts), owner_of)
    return None


def _of_policy(name: str) -> ObjectReference | None:
    namespace, separator, short = name.partition("/")
    if not separator or not short or short == STATIC_STRICT:
        return None
    if short.startswith(CONVERTED_PREFIX):
        original = short.removeprefix(CONVERTED_PREFIX)
        return ObjectReference("PeerAuthentication", namespace, original)
    if short.startswith(NAME_PREFIX):
        # Names of objects have no underscore, so the first one ends the namespace.
        gateway = Name(*short.removeprefix(NAME_PREFIX).partition("_")[::2])
        return ObjectReference("Gateway", *gateway)
    return ObjectReference("AuthorizationPolicy", namespace, short)


def _of_workload(parts: list[str]) -> ObjectReference | None:
    """Return the object of a uid: cluster, group, kind, namespace, name and perhaps an address."""
    if parts[1] == _SPLIT_HORIZON:
        return ObjectReference("Gateway", parts[2], parts[3])
    _, _, kind, namespace, name, *_ = parts
    return ObjectReference(kind, namespace, name) if kind and namespace and name else None


def _of_service(service: ServiceName, owner_of: ServiceOwner) -> ObjectReference | None:
    owner = owner_of(service)
    if owner is not None:
        return owner
    name, separator, rest = service.hostname.partition(".")
    if separator and name and rest.startswith(f"{service.namespace}.svc."):
        return ObjectReference("Service", service.namespace, name)
    return None


def _of_hostname(hostname: str) -> ObjectReference | None:
    """Return the Service that a hostname can only be of, ``name.namespace.svc.<domain>``."""
    name, _, rest = hostname.partition(".")
    namespace, _, rest = rest.partition(".")
    is_service = bool(name and namespace) and rest.startswith("svc.")
    return ObjectReference("Service", namespace, name) if is_service else None
