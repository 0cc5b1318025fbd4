"""Everything that users are told by conditions, for those who show it.

Conditions of objects come in, and what routes and policies are told about each of their parents;
one collection of conditions goes out. Controllers write the two apart from each other: they have
different places in a status. docs/protocol/route-status.md RT-10.
"""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition
from controlplane.model.route_parent import ParentReference, RouteParent

ROUTE_STATUS_MANAGER: Final = "istiod-lite-route-status"

ConditionKey = tuple[ObjectReference, str]


def build_told_conditions(
    graph: Graph,
    conditions: Collection[ConditionKey, Condition],
    *parents: Collection[Any, RouteParent],
) -> Collection[ConditionKey, Condition]:
    """Declare ``conditions`` and those at ``parents``, by object and what tells them apart."""
    return graph.union(
        "told conditions",
        conditions,
        *(
            graph.derive_many(f"conditions of {told.name}", told, _conditions_at)
            for told in parents
        ),
    )


def parent_text(parent: ParentReference) -> str:
    """Return how a parent is shown to people."""
    place = f"{parent.namespace}/" if parent.namespace else ""
    rest = "".join(f" {word}" for word in (parent.section, parent.port) if word)
    return f"{parent.kind or 'Gateway'} {place}{parent.name}{rest}"


def _conditions_at(_: Fetch, told: RouteParent) -> Mapping[ConditionKey, Condition]:
    parent = parent_text(told.parent)
    return {
        (told.route, f"{parent} {each.type}"): Condition(
            object=told.route,
            type=each.type,
            status=each.status,
            reason=each.reason,
            message=each.message,
            manager=ROUTE_STATUS_MANAGER,
            observed_generation=told.observed_generation or None,
            parent=parent,
        )
        for each in told.conditions
    }
