"""What an installation says about its waypoints: settings and the mesh in, one value out."""

from typing import Final

from controlplane.app.mesh import Mesh
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.mesh.networks import NETWORK_LABEL
from controlplane.model.names import Name
from controlplane.settings import Settings

_DISCOVERY_PORT: Final = 15012
"""Of our Service, whatever port this process was told to listen on."""


def discovery_host(settings: Settings) -> str:
    """Return the host that the cluster finds this control plane at."""
    if settings.discovery_host is not None:
        return settings.discovery_host
    revision = settings.revision
    name = f"istiod-{revision}" if revision and revision != "default" else "istiod"
    return f"{name}.{settings.system_namespace}.svc"


def waypoint_settings(settings: Settings, mesh: Mesh) -> WaypointSettings:
    """Return them. The network is what our namespace is labelled with now."""
    home = mesh.pipeline.inputs.namespaces.get(Name("", settings.system_namespace))
    labels = {} if home is None else home.metadata.labels
    return waypoint_settings_in(settings, labels.get(NETWORK_LABEL, ""))


def waypoint_settings_in(settings: Settings, network: str) -> WaypointSettings:
    """Return them for a cluster that is in ``network``, "" for none."""
    return WaypointSettings(
        discovery_host=discovery_host(settings),
        discovery_port=_DISCOVERY_PORT,
        image=settings.waypoint_image,
        cluster_id=settings.cluster_id,
        network=network,
        domain_suffix=settings.domain_suffix,
        revision=settings.revision,
        listen_address=settings.waypoint_listen_address,
        cpu_request=settings.waypoint_cpu_request,
        memory_request=settings.waypoint_memory_request,
        cpu_limit=settings.waypoint_cpu_limit,
        memory_limit=settings.waypoint_memory_limit,
        drain_seconds=settings.waypoint_drain_seconds,
    )
