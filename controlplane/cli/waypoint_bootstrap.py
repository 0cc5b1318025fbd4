"""The bootstrap of a waypoint, for commands: a Gateway of files or of a cluster in, JSON out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from controlplane.app.waypoints import waypoint_settings_in
from controlplane.cli.errors import CommandError
from controlplane.cli.manifest_files import read_files
from controlplane.cli.waypoint_cluster import find_gateway, find_namespace
from controlplane.cluster.client import ClusterClient
from controlplane.controllers.waypoint_objects import waypoint_files
from controlplane.encode.bootstrap import BOOTSTRAP_FILE
from controlplane.manifests.core import Namespace
from controlplane.manifests.gateway import Gateway, GatewayClass
from controlplane.manifests.reading import read_object
from controlplane.mesh.networks import NETWORK_LABEL
from controlplane.mesh.waypoint_gateways import is_waypoint_class
from controlplane.model.names import Name
from controlplane.model.problem import Problem
from controlplane.settings import Settings


def bootstrap_of_files(paths: Sequence[Path], waypoint: Name) -> str:
    """Return the bootstrap of a Gateway that manifests declare.

    Raises:
        CommandError: no Gateway of that name is a waypoint, or it can be deployed under no name.
    """
    settings = _settings()
    loaded = read_files(paths, settings)
    classes: dict[str, GatewayClass] = {}
    gateway: Gateway | None = None
    network = ""
    for manifest, _ in loaded.objects:
        if isinstance(manifest, GatewayClass):
            classes[manifest.key.name] = manifest
        elif isinstance(manifest, Gateway) and manifest.key == waypoint:
            gateway = manifest
        elif isinstance(manifest, Namespace) and manifest.key.name == settings.system_namespace:
            network = manifest.metadata.labels.get(NETWORK_LABEL, "")
    if gateway is None or not is_waypoint_class(
        gateway.class_name, classes.get(gateway.class_name)
    ):
        raise CommandError(f"no Gateway {waypoint} of the files is a waypoint")
    return _bootstrap(gateway, settings, network)


async def bootstrap_in_cluster(client: ClusterClient, waypoint: Name) -> str:
    """Return the bootstrap of a Gateway of the cluster.

    Raises:
        CommandError: it is not there, is no waypoint, or cannot be read.
    """
    settings = _settings()
    document = await find_gateway(client, waypoint.namespace, waypoint.name)
    if document is None:
        raise CommandError(f"there is no waypoint {waypoint}")
    home = await find_namespace(client, settings.system_namespace)
    labels: dict[str, Any] = {} if home is None else home["metadata"].get("labels") or {}
    # One object that was asked for by name may come without its type.
    typed = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"}
    gateway = read_object({**document, **typed})
    if isinstance(gateway, Problem):
        where = f"{gateway.field}: " if gateway.field else ""
        raise CommandError(f"Gateway {waypoint} cannot be read: {where}{gateway.message}")
    if not isinstance(gateway, Gateway):
        raise CommandError(f"Gateway {waypoint} cannot be read")
    return _bootstrap(gateway, settings, labels.get(NETWORK_LABEL, ""))


def _bootstrap(gateway: Gateway, settings: Settings, network: str) -> str:
    files, problems = waypoint_files(gateway, waypoint_settings_in(settings, network))
    for problem in problems:
        typer.echo(f"{problem.object} {problem.field or ''}: {problem.message}", err=True)
    if files is None:
        raise CommandError(f"Gateway {gateway.key} can be deployed under no name")
    return files[BOOTSTRAP_FILE]


def _settings() -> Settings:
    try:
        return Settings()
    except ValueError as error:
        raise CommandError(str(error)) from error
