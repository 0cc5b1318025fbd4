"""PeerAuthentication in, strictness and converted policies out (docs/protocol/policies.md PA-n).

Pure: what one PeerAuthentication asks for, together with whether its namespace is strict, gives
the policy made of it *and* the policies a workload under it lists, from one computation, so that
the two cannot disagree. ``controlplane.mesh.policies`` puts it on the graph.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.manifests.istio import PeerAuthentication
from controlplane.model.names import Name
from controlplane.model.policy import (
    Action,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    StringMatch,
)

STATIC_STRICT: Final = "istio_converted_static_strict"
CONVERTED_PREFIX: Final = "converted_peer_authentication_"
UNSET: Final = "UNSET"
STRICT: Final = "STRICT"

_HIGHEST_PORT = 65535
_UNAUTHENTICATED = (StringMatch(MatchType.PRESENCE),)
_NO_IDENTITY = Rule((Match(not_principals=_UNAUTHENTICATED),))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPolicy:
    """What one PeerAuthentication asks for.

    ``selector`` is None when it covers its whole namespace (or the mesh, in the root namespace).
    ``ports`` are the usable ports that have a mode, ascending; a policy without selector has none.
    """

    key: Name
    created: float
    selector: frozenset[tuple[str, str]] | None
    mode: str
    ports: tuple[tuple[int, str], ...]


class PeerOutcome(NamedTuple):
    """What follows from one PeerAuthentication with a selector.

    ``listed`` are the policies that a workload under it lists, sorted; ``authorization`` is the
    policy made of it, if its ports need one.
    """

    listed: tuple[Name, ...]
    authorization: Authorization | None


def peer_policy_from(manifest: PeerAuthentication) -> PeerPolicy:
    """Return what ``manifest`` asks for; an empty selector covers the namespace like none."""
    selector = frozenset(manifest.selector.items()) if manifest.selector else None
    ports = sorted(
        (port, mode)
        for port, mode in manifest.port_modes.items()
        if selector is not None and is_port(port) and mode != UNSET
    )
    return PeerPolicy(
        key=manifest.key,
        created=manifest.metadata.created,
        selector=selector,
        mode=manifest.mode,
        ports=tuple(ports),
    )


def is_port(port: int) -> bool:
    """Return whether traffic can arrive at ``port``."""
    return 0 < port <= _HIGHEST_PORT


def oldest(policies: Iterable[PeerPolicy]) -> PeerPolicy | None:
    """Return the one that wins: smallest creation time, then namespace, then name."""
    return min(policies, key=lambda policy: (policy.created, policy.key), default=None)


def peer_outcome(
    policy: PeerPolicy, *, inherits_strict: bool, root_namespace: str
) -> PeerOutcome | None:
    """Return what follows from ``policy``; None when it has no selector or is ignored.

    ``inherits_strict`` says whether its namespace, else the mesh, is strict.
    """
    namespace, name = policy.key
    if policy.selector is None or namespace == root_namespace:
        return None
    is_strict = inherits_strict if policy.mode == UNSET else policy.mode == STRICT
    exceptions = tuple(port for port, mode in policy.ports if (mode == STRICT) != is_strict)
    if not exceptions:
        return PeerOutcome((static_strict_name(root_namespace),) if is_strict else (), None)
    converted = Authorization(
        name=f"{CONVERTED_PREFIX}{name}",
        namespace=namespace,
        scope=Scope.WORKLOAD_SELECTOR,
        action=Action.DENY,
        groups=(
            _strict_except(exceptions, own=policy.mode == STRICT, inherited=inherits_strict)
            if is_strict
            else _strict_only(exceptions)
        ),
    )
    return PeerOutcome((converted.key,), converted)


def static_strict_name(root_namespace: str) -> Name:
    """Return the name of the policy that strict workloads list."""
    return Name(root_namespace, STATIC_STRICT)


def static_strict(root_namespace: str) -> Authorization:
    """Return the policy that denies everyone without an identity."""
    return Authorization(
        name=STATIC_STRICT,
        namespace=root_namespace,
        scope=Scope.WORKLOAD_SELECTOR,
        action=Action.DENY,
        groups=(Group((_NO_IDENTITY,)),),
    )


def _strict_only(ports: tuple[int, ...]) -> tuple[Group, ...]:
    """Return one group per port: no identity and this port."""
    return tuple(
        Group((Rule((Match(not_principals=_UNAUTHENTICATED, destination_ports=(port,)),)),))
        for port in ports
    )


def _strict_except(ports: tuple[int, ...], *, own: bool, inherited: bool) -> tuple[Group, ...]:
    """Return one group: no identity and none of these ports.

    The identity comes first for the policy's own mode and last for what it inherits, once for
    each: rules are ANDed, so saying it twice changes nothing but the bytes.
    """
    exempt = tuple(Rule((Match(not_destination_ports=(port,)),)) for port in ports)
    first = (_NO_IDENTITY,) if own else ()
    last = (_NO_IDENTITY,) if inherited else ()
    return (Group((*first, *exempt, *last)),)
