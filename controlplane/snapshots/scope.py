"""The keys of tables: one resource type, seen in one scope.

The pipeline stages by these keys, ``catalog`` finds tables by them and ``xds`` decides which of
them a client sees.
"""

from typing import NamedTuple

from controlplane.encode.envelope import ADDRESS_TYPE, AUTHORIZATION_TYPE, WORKLOAD_TYPE

__all__ = [
    "ADDRESSES",
    "ADDRESS_TYPE",
    "AUTHORIZATIONS",
    "AUTHORIZATION_TYPE",
    "GLOBAL_AUTHORIZATIONS",
    "WORKLOAD_TYPE",
    "TableKey",
    "is_node_scope",
    "node_authorizations",
]


class TableKey(NamedTuple):
    """One table: a type URL and who may see it ("" is the whole mesh)."""

    type_url: str
    scope: str = ""


ADDRESSES = TableKey(ADDRESS_TYPE)
AUTHORIZATIONS = TableKey(AUTHORIZATION_TYPE)
GLOBAL_AUTHORIZATIONS = TableKey(AUTHORIZATION_TYPE, "global")

_NODE = "node/"


def node_authorizations(node: str) -> TableKey:
    """Return the key of the policies that concern ``node``, the global ones excepted.

    A policy is either in GLOBAL_AUTHORIZATIONS or in the tables of nodes, never in both.
    """
    return TableKey(AUTHORIZATION_TYPE, _NODE + node)


def is_node_scope(key: TableKey) -> bool:
    """Return whether ``key`` names the table of one node."""
    return key.scope.startswith(_NODE)
