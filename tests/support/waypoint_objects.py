"""Pairs of a Gateway with its ConfigMaps and of the objects it is deployed as."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.controllers.waypoint_objects import (
    WaypointObjects,
    parameters_of,
    waypoint_objects,
)
from controlplane.controllers.waypoint_overlays import class_defaults
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.gateway import Gateway
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.reading import read_documents
from controlplane.model.problem import Problem

SETTINGS = WaypointSettings(discovery_host="istiod.istio-system.svc")
ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True)
class Pair:
    gateway: Gateway
    config_maps: tuple[ConfigMap, ...]
    settings: WaypointSettings


def a_config_map(
    name: str = "options",
    namespace: str = "shop",
    *,
    data: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    created: float = 0.0,
) -> ConfigMap:
    metadata = Metadata(name=name, namespace=namespace, labels=labels or {}, created=created)
    return ConfigMap(metadata=metadata, data=data or {})


def read_pair(path: Path) -> Pair:
    """Read a Gateway, ConfigMaps and, as a document without kind, what the settings are."""
    settings: dict[str, Any] = {"discovery_host": "istiod.istio-system.svc"}
    config_maps = []
    gateway = None
    for document in yaml.safe_load_all(path.read_text()):
        match document.get("kind"):
            case "ConfigMap":
                metadata = document["metadata"]
                config_maps.append(
                    a_config_map(
                        metadata["name"],
                        metadata["namespace"],
                        data=document["data"],
                        labels=metadata.get("labels"),
                    )
                )
            case "Gateway":
                (read,) = read_documents(json.dumps(document)).documents
                assert isinstance(read.manifest, Gateway)
                gateway = read.manifest
            case _:
                settings |= document
    assert gateway is not None
    return Pair(gateway, tuple(config_maps), WaypointSettings(**settings))


def objects_of(pair: Pair) -> WaypointObjects:
    key = parameters_of(pair.gateway)
    found = {config_map.key: config_map for config_map in pair.config_maps}
    return waypoint_objects(
        pair.gateway,
        pair.settings,
        defaults=class_defaults(pair.config_maps, pair.gateway.class_name, ROOT_NAMESPACE),
        parameters=None if key is None else found.get(key),
    )


def written(found: WaypointObjects) -> dict[str, Any]:
    """Return objects and problems as an expectation has them: files of the proxy as documents."""
    return {
        "objects": [_readable(item) for item in found.objects],
        "problems": [_problem(problem) for problem in found.problems],
    }


def _readable(item: dict[str, Any]) -> dict[str, Any]:
    if item["kind"] != "ConfigMap":
        return item
    return {**item, "data": {name: json.loads(text) for name, text in item["data"].items()}}


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "field": problem.field,
        "message": problem.message,
        "object": str(problem.object),
    }


def by_kind(objects: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in objects}
