"""Policies that let waypoints in, for installations that ask for them.

Ready waypoints come in; one ALLOW policy for the identities of each goes out, and its name, which
the users of the waypoint list. ``controlplane.mesh.policies`` continues from here.
docs/protocol/policies.md AP-19.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.waypoints import Waypoints
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
from controlplane.model.waypoint import Waypoint

NAME_PREFIX: Final = "istio_allow_waypoint_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admissions:
    """The policies that let waypoints in, and their names by waypoint."""

    authorizations: Collection[Name, Authorization]
    names: Collection[Name, Name]


def build_admissions(graph: Graph, membership: Membership, waypoints: Waypoints) -> Admissions:
    """Declare one policy for each waypoint with service accounts on ``graph``."""

    def admission(fetch: Fetch, waypoint: Waypoint) -> Mapping[Name, Authorization]:
        name = _name(fetch, waypoint)
        if name is None:
            return {}
        domain = membership.mesh_config(fetch).trust_domain
        prefix = f"{domain}/ns/{waypoint.key.namespace}/sa/"
        principals = tuple(
            StringMatch(MatchType.EXACT, prefix + account) for account in waypoint.service_accounts
        )
        policy = Authorization(
            name=name.name,
            namespace=name.namespace,
            scope=Scope.WORKLOAD_SELECTOR,
            action=Action.ALLOW,
            groups=(Group((Rule((Match(principals=principals),)),)),),
        )
        return {name: policy}

    return Admissions(
        authorizations=graph.derive_many(
            "waypoint admissions by policy", waypoints.ready, admission
        ),
        names=graph.derive("waypoint admission names", waypoints.ready, _name),
    )


def _name(_: Fetch, waypoint: Waypoint) -> Name | None:
    namespace, name = waypoint.key
    if not waypoint.service_accounts:
        return None
    return Name(namespace, f"{NAME_PREFIX}{namespace}_{name}")
