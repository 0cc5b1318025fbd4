"""The parts of the mesh that the rules of workloads build on."""

from dataclasses import dataclass

from controlplane.dataflow import Collection
from controlplane.mesh.hostnames import Services
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.networks import Networks
from controlplane.mesh.policies import Policies
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.waypoint_traffic import ServedBefore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that is built before workloads are."""

    manifests: Manifests
    membership: Membership
    networks: Networks
    waypoints: Waypoints
    policies: Policies
    services: Services
    served_before: Collection[ServedBefore, ServedBefore]
    settings: MeshSettings
