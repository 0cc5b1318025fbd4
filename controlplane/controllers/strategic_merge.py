"""Strategic merge: an object and a partial one to lay over it in, the merged object out.

Maps are merged, lists whose items have a key are merged by it, other lists and scalars are
replaced, null removes. ``waypoint_overlays`` uses it for what users want changed. Source:
docs/protocol/waypoint-deployment.md WO-22 to WO-24.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from controlplane.controllers.errors import OverlayError
from controlplane.manifests.documents import Path, field_path

_POD: Final = ("spec", "template", "spec")
_DIRECTIVE: Final = "$patch"


def _keys() -> dict[str, dict[tuple[str, ...], str]]:
    """Return the key of the items of each list that has one, by kind and path without indexes."""
    of_containers: dict[tuple[str, ...], str] = {
        (*_POD, containers, field): key
        for containers in ("containers", "initContainers")
        for field, key in (
            ("env", "name"),
            ("ports", "containerPort"),
            ("volumeDevices", "devicePath"),
            ("volumeMounts", "mountPath"),
        )
    }
    of_pods: dict[tuple[str, ...], str] = {
        (*_POD, field): key
        for field, key in (
            ("containers", "name"),
            ("hostAliases", "ip"),
            ("imagePullSecrets", "name"),
            ("initContainers", "name"),
            ("resourceClaims", "name"),
            ("schedulingGates", "name"),
            ("topologySpreadConstraints", "topologyKey"),
            ("volumes", "name"),
        )
    }
    return {
        "Deployment": {**of_pods, **of_containers},
        "Service": {("spec", "ports"): "port"},
        "ServiceAccount": {("secrets",): "name"},
    }


_KEYS: Final = _keys()


def strategic_merge(value: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``value`` with ``patch`` laid over it; neither is changed.

    Raises:
        OverlayError: the patch uses a directive other than ``$patch: delete``, ``merge`` and
            ``replace``, does not fit the shape of the object, or has an item without its key.
    """
    merged: dict[str, Any] = _Merge(_KEYS.get(value["kind"], {})).maps((), value, patch)
    return merged


class _Merge:
    def __init__(self, keys: Mapping[tuple[str, ...], str]) -> None:
        self._keys = keys

    def maps(self, path: Path, value: Mapping[str, Any], patch: Mapping[str, Any]) -> Any:
        directive = _directive(path, patch)
        if directive == "delete":
            return {}
        merged = {} if directive == "replace" else deepcopy(dict(value))
        for name, part in patch.items():
            if name == _DIRECTIVE:
                continue
            if name.startswith("$"):
                raise OverlayError(field_path((*path, name)), "this directive is not supported")
            if part is None:
                merged.pop(name, None)
            else:
                merged[name] = self._value((*path, name), merged.get(name), part)
        return merged

    def _value(self, path: Path, value: Any, patch: Any) -> Any:
        if isinstance(patch, Mapping):
            if value is not None and not isinstance(value, Mapping):
                raise OverlayError(field_path(path), "an object cannot replace what is none")
            return self.maps(path, value or {}, patch)
        if isinstance(patch, list):
            if value is not None and not isinstance(value, list):
                raise OverlayError(field_path(path), "a list cannot replace what is none")
            key = self._keys.get(tuple(step for step in path if isinstance(step, str)))
            if key is None:
                return _whole(path, patch)
            return self._list(path, key, value or [], patch)
        if isinstance(value, Mapping | list):
            raise OverlayError(field_path(path), "a scalar cannot replace an object or a list")
        return patch

    def _list(self, path: Path, key: str, items: list[Any], patch: list[Any]) -> list[Any]:
        """Merge items of equal ``key``; others are added at the end, in their order."""
        replaces = any(item == {_DIRECTIVE: "replace"} for item in patch)
        merged = [] if replaces else deepcopy(items)
        for index, item in enumerate(patch):
            place = (*path, index)
            if not isinstance(item, Mapping):
                raise OverlayError(field_path(place), "an object is expected")
            if item == {_DIRECTIVE: "replace"}:
                continue
            if item.get(key) is None:
                raise OverlayError(field_path((*place, key)), "this says which item is meant")
            found = next((i for i, old in enumerate(merged) if old.get(key) == item[key]), None)
            if _directive(place, item) == "delete":
                if found is not None:
                    del merged[found]
                continue
            laid = self.maps(place, {} if found is None else merged[found], item)
            if found is None:
                merged.append(laid)
            else:
                merged[found] = laid
        return merged


def _whole(path: Path, patch: list[Any]) -> list[Any]:
    """Return a list that replaces another; a directive in it would reach the API server."""
    for index, item in enumerate(patch):
        if isinstance(item, Mapping) and any(name.startswith("$") for name in item):
            raise OverlayError(
                field_path((*path, index)), "a list that is replaced has no directives"
            )
    return deepcopy(patch)


def _directive(path: Path, patch: Mapping[str, Any]) -> str:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in {"delete", "merge", "replace"}:
        raise OverlayError(field_path((*path, _DIRECTIVE)), "not delete, merge or replace")
    return str(directive)
