"""The keys of tables: one resource type, seen in one scope.

The pipeline stages by these keys, ``catalog`` finds tables by them and ``xds`` decides which of
them a client sees.
"""

from typing import NamedTuple

from controlplane.encode.envelope import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    WORKLOAD_TYPE,
)
from controlplane.model.names import Name

__all__ = [
    "ADDRESSES",
    "ADDRESS_TYPE",
    "AUTHORIZATIONS",
    "AUTHORIZATION_TYPE",
    "CLUSTER_TYPE",
    "ENDPOINT_TYPE",
    "GLOBAL_AUTHORIZATIONS",
    "LISTENER_TYPE",
    "ROUTE_TYPE",
    "WAYPOINT_TYPES",
    "WORKLOAD_TYPE",
    "TableKey",
    "is_narrow",
    "is_node_scope",
    "node_authorizations",
    "waypoint_endpoints",
    "waypoint_of_listeners",
    "waypoint_resources",
]


class TableKey(NamedTuple):
    """One table: a type URL and who may see it ("" is the whole mesh)."""

    type_url: str
    scope: str = ""


ADDRESSES = TableKey(ADDRESS_TYPE)
AUTHORIZATIONS = TableKey(AUTHORIZATION_TYPE)
GLOBAL_AUTHORIZATIONS = TableKey(AUTHORIZATION_TYPE, "global")

WAYPOINT_TYPES = (CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE)
"""What a waypoint is sent from tables, in the order in which it needs them; secrets are not."""

_NODE = "node/"
_WAYPOINT = "waypoint/"


def node_authorizations(node: str) -> TableKey:
    """Return the key of the policies that concern ``node``, the global ones excepted.

    A policy is either in GLOBAL_AUTHORIZATIONS or in the tables of nodes, never in both.
    """
    return TableKey(AUTHORIZATION_TYPE, _NODE + node)


def waypoint_resources(waypoint: Name, type_url: str) -> TableKey:
    """Return the key of the resources of one type for the pods of one waypoint Gateway."""
    return TableKey(type_url, f"{_WAYPOINT}{waypoint}")


def waypoint_endpoints(waypoint: Name, node: str) -> TableKey:
    """Return the key of the endpoints for pods of a waypoint on ``node``, "" for none known.

    A name is either in the table of all its pods or in those of nodes, never in both.
    """
    return TableKey(ENDPOINT_TYPE, f"{_WAYPOINT}{waypoint}/{node}")


def waypoint_of_listeners(key: TableKey) -> Name | None:
    """Return the waypoint whose listeners are in the table of ``key``, None for other tables."""
    if key.type_url != LISTENER_TYPE or not key.scope.startswith(_WAYPOINT):
        return None
    namespace, _, name = key.scope.removeprefix(_WAYPOINT).partition("/")
    return Name(namespace, name)


def is_node_scope(key: TableKey) -> bool:
    """Return whether ``key`` names the table of one node."""
    return key.scope.startswith(_NODE)


def is_narrow(key: TableKey) -> bool:
    """Return whether ``key`` names the table of one node or waypoint, which come and go."""
    return key.scope.startswith((_NODE, _WAYPOINT))
