"""What the author of a route is told about one of its parents.

``mesh`` makes these of routes, ``controllers`` writes them. docs/protocol/route-status.md.
"""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.model.names import ObjectReference


class ParentReference(NamedTuple):
    """A parent as the route names it: "" and 0 where it says nothing."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str = ""
    port: int = 0


class ParentCondition(NamedTuple):
    """One condition of a route at one parent."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteParent:
    """What is true of ``route`` at ``parent``; ``observed_generation`` is that of the route.

    For a policy (BackendTLSPolicy) the parent is what its status calls an ancestor.
    """

    route: ObjectReference
    parent: ParentReference
    conditions: tuple[ParentCondition, ...]
    observed_generation: int = 0
