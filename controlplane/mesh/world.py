"""The mesh joined: inputs come in, everything clients are sent and users are told goes out.

``controlplane.encode`` turns workloads, services and authorizations into bytes; conditions and
problems go to status, admin and ``snapshot``.
"""

from dataclasses import dataclass

from controlplane.dataflow import Collection
from controlplane.mesh.problems import ProblemKey
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.policy import Authorization
from controlplane.model.problem import Condition, Problem
from controlplane.model.service import Service
from controlplane.model.waypoint import Waypoint
from controlplane.model.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the mesh is.

    ``node_policies`` is keyed by (node, policy): the policies that are not global and that a node
    needs. ``conditions`` are keyed by object and type, ``problems`` by object, code and field.
    """

    workloads: Collection[str, Workload]
    services: Collection[ServiceName, Service]
    authorizations: Collection[Name, Authorization]
    node_policies: Collection[tuple[str, Name], Name]
    waypoints: Collection[Name, Waypoint]
    conditions: Collection[tuple[ObjectReference, str], Condition]
    problems: Collection[ProblemKey, Problem]
