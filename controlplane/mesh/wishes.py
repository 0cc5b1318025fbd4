"""What an object or a namespace asks for in terms of waypoints, read from labels and annotations.

Labels and annotations come in, small values go out that compare equal while nothing about
waypoints changed; ``waypoints`` keeps them per namespace, ``binding`` and ``canary`` act on them.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from controlplane.model.names import Name

USE_WAYPOINT: Final = "istio.io/use-waypoint"
USE_WAYPOINT_NAMESPACE: Final = "istio.io/use-waypoint-namespace"
USE_CANARY: Final = "istio.io/use-waypoint-canary"
USE_CANARY_NAMESPACE: Final = "istio.io/use-waypoint-canary-namespace"
CANARY_WEIGHT: Final = "istio.io/use-waypoint-canary-weight"
INGRESS_USE_WAYPOINT: Final = "istio.io/ingress-use-waypoint"

_NOTHING: Final = "none"
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Wish(NamedTuple):
    """A stated wish for a waypoint, or the wish for none (``key`` None)."""

    key: Name | None


class Ingress(NamedTuple):
    """What an ``istio.io/ingress-use-waypoint`` label says; unreadable counts as not wanted."""

    wanted: bool
    readable: bool


class NamespaceWishes(NamedTuple):
    """What a namespace asks for on behalf of its objects; None where it says nothing."""

    waypoint: Wish | None = None
    canary: Wish | None = None
    canary_weight: str | None = None
    ingress: Ingress | None = None


def waypoint_wish(labels: Mapping[str, str], namespace: str) -> Wish | None:
    """Return what ``labels`` of something in ``namespace`` ask for; None when they say nothing.

    Any value but ``none`` names a waypoint, even one that cannot exist: a mistyped name must not
    look like the wish for no waypoint. Source: docs/protocol/waypoints.md WP-10 to WP-12.
    """
    name = labels.get(USE_WAYPOINT)
    if name is None:
        return None
    if name == _NOTHING:
        return Wish(None)
    return Wish(Name(labels.get(USE_WAYPOINT_NAMESPACE, namespace), name))


def canary_wish(labels: Mapping[str, str], namespace: str) -> Wish | None:
    """Return the canary ``labels`` ask for; None when they say nothing (WP-30)."""
    name = labels.get(USE_CANARY)
    if name is None:
        return None
    if name in {"", _NOTHING}:
        return Wish(None)
    return Wish(Name(labels.get(USE_CANARY_NAMESPACE, namespace), name))


def ingress_wish(labels: Mapping[str, str]) -> Ingress | None:
    """Return what ``labels`` say about ingress traffic; None when they say nothing (WP-40)."""
    value = labels.get(INGRESS_USE_WAYPOINT)
    if value is None:
        return None
    return Ingress(wanted=value in _TRUE, readable=value in _TRUE or value in _FALSE)


def boolean(text: str | None) -> bool | None:
    """Return what ``text`` says; None when it says neither, or nothing at all."""
    return text in _TRUE if text in _TRUE or text in _FALSE else None


def namespace_wishes(
    labels: Mapping[str, str], annotations: Mapping[str, str], namespace: str
) -> NamespaceWishes:
    """Return everything a namespace asks for on behalf of its objects."""
    return NamespaceWishes(
        waypoint=waypoint_wish(labels, namespace),
        canary=canary_wish(labels, namespace),
        canary_weight=annotations.get(CANARY_WEIGHT),
        ingress=ingress_wish(labels),
    )
