"""Which canary waypoint a service asks for, and with what share of its traffic.

Labels and annotations of the object and what its namespace asks for come in, a wish and a weight
go out; ``binding`` checks the waypoint behind the wish. Source: docs/protocol/waypoints.md WP-30
to WP-36.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.mesh.wishes import (
    CANARY_WEIGHT,
    USE_WAYPOINT,
    NamespaceWishes,
    Wish,
    canary_wish,
)

_LARGEST_WEIGHT: Final = 100


def canary_wish_for(
    labels: Mapping[str, str], namespace: str, wishes: NamespaceWishes
) -> Wish | None:
    """Return the canary that applies to an object: its own, else the one it inherits.

    An object that names its own primary waypoint inherits no canary: the namespace's canary is
    the companion of the namespace's primary.
    """
    own = canary_wish(labels, namespace)
    if own is not None or USE_WAYPOINT in labels:
        return own
    return wishes.canary


def canary_weight(
    labels: Mapping[str, str], annotations: Mapping[str, str], wishes: NamespaceWishes
) -> int | None:
    """Return the canary's share in percent, 0 when nobody states one, None when unusable."""
    text = annotations.get(CANARY_WEIGHT)
    if text is None and USE_WAYPOINT not in labels:
        text = wishes.canary_weight
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 3:
        return None
    weight = int(text)
    return weight if weight <= _LARGEST_WEIGHT else None
