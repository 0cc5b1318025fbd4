"""What users want changed in a waypoint's objects: texts of a ConfigMap in, changed objects out.

``waypoint_objects`` calls it for the defaults of the class and then for the Gateway's own
ConfigMap. Source: docs/protocol/waypoint-deployment.md WO-20 to WO-27.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from controlplane.controllers.errors import OverlayError
from controlplane.controllers.strategic_merge import strategic_merge
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.documents import Limits, field_path
from controlplane.manifests.errors import UnreadableTextError
from controlplane.manifests.read_yaml import read_yaml

DEFAULTS_FOR_CLASS: Final = "gateway.istio.io/defaults-for-class"
KIND_OF: Final = {
    "deployment": "Deployment",
    "horizontalPodAutoscaler": "HorizontalPodAutoscaler",
    "podDisruptionBudget": "PodDisruptionBudget",
    "service": "Service",
    "serviceAccount": "ServiceAccount",
}
"""The keys a ConfigMap of overlays may have, and the kind each is laid over."""

_LIMITS: Final = Limits(bytes=256 * 1024, values=20_000, anchors=100, documents=8)
_STRINGS: Final = ("labels", "annotations")
# Paths that bind the objects to each other and to the Gateway: with another value of one of
# these the Service, the autoscaler or the budget would be about pods of somebody else.
_BINDING: Final = {
    "Deployment": (
        ("spec", "selector"),
        ("spec", "template", "spec", "serviceAccountName"),
        ("spec", "template", "metadata", "labels", "gateway.networking.k8s.io/gateway-name"),
    ),
    "HorizontalPodAutoscaler": (("spec", "scaleTargetRef"),),
    "PodDisruptionBudget": (("spec", "selector"),),
    "Service": (("spec", "selector"),),
    "ServiceAccount": (),
}


def class_defaults(
    config_maps: Iterable[ConfigMap], class_name: str, root_namespace: str
) -> ConfigMap | None:
    """Return the oldest ConfigMap of the root namespace that is labelled for the class."""
    labelled = [
        config_map
        for config_map in config_maps
        if config_map.metadata.namespace == root_namespace
        and config_map.metadata.labels.get(DEFAULTS_FOR_CLASS) == class_name
    ]
    return min(labelled, key=lambda held: (held.metadata.created, held.metadata.name), default=None)


def read_overlays(config_map: ConfigMap) -> dict[str, Mapping[str, Any]]:
    """Return the overlays of a ConfigMap by the kind they are for.

    Raises:
        OverlayError: a key is unknown, or its text is not one YAML object.
    """
    unknown = sorted(config_map.data.keys() - KIND_OF.keys())
    if unknown:
        known = ", ".join(sorted(KIND_OF))
        raise OverlayError(field_path(("data", unknown[0])), f"not one of {known}")
    return {
        KIND_OF[key]: _read(field_path(("data", key)), text)
        for key, text in sorted(config_map.data.items())
    }


def lay_over(value: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``value`` with ``overlay`` laid over it.

    Raises:
        OverlayError: it does not fit, or it changes what an overlay must leave alone.
    """
    merged = strategic_merge(value, overlay)
    for path in _unchangeable(value, merged):
        if _at(merged, path) != _at(value, path):
            raise OverlayError(field_path(path), "an overlay may not change this")
    for part in (merged, _at(merged, ("spec", "template"))):
        if isinstance(part, Mapping):
            _check_strings(part)
    return merged


def _read(field: str, text: str) -> Mapping[str, Any]:
    if len(text) > _LIMITS.bytes:
        raise OverlayError(field, f"larger than {_LIMITS.bytes} bytes")
    try:
        steps = read_yaml(text, _LIMITS)
        while True:
            next(steps)
    except StopIteration as end:
        documents = [document for document in end.value if document.value is not None]
    except UnreadableTextError as error:
        raise OverlayError(field, error.reason) from error
    if not documents:
        return {}
    if len(documents) > 1 or not isinstance(documents[0].value, dict):
        raise OverlayError(field, "one object is expected")
    if documents[0].faults:
        raise OverlayError(field, documents[0].faults[0].reason)
    return documents[0].value


def _unchangeable(value: Mapping[str, Any], merged: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield from (("apiVersion",), ("kind",), ("status",))
    metadata = merged.get("metadata")
    held = metadata.keys() if isinstance(metadata, Mapping) else set()
    for field in sorted((held | value["metadata"].keys()) - set(_STRINGS)):
        yield ("metadata", field)
    yield from _BINDING[value["kind"]]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _check_strings(part: Mapping[str, Any]) -> None:
    """Refuse labels and annotations that are not text: the whole object would be refused."""
    for field in _STRINGS:
        held = _at(part, ("metadata", field)) or {}
        if not isinstance(held, Mapping):
            raise OverlayError(field_path(("metadata", field)), "an object is expected")
        for key, text in held.items():
            if not isinstance(text, str):
                raise OverlayError(field_path(("metadata", field, key)), "text is expected")
