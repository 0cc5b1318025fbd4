"""What requests that write do to the objects of the double: a place and a document in and out.

Subresources are as in a real server. A write to ``status`` of a custom kind changes the status and
``managedFields`` and drops every other change of the metadata, although the fields stay noted as
the manager's (the status strategy of custom resources copies the old object and sets those two;
seen in istio/istio#54475: a Gateway without the annotation that an apply on ``status`` brought,
which the manager owns all the same). Built-in kinds are older than that rule: there a write to
``status`` takes labels and annotations along, and leaves owners alone.
"""

import json
from typing import Any

from tests.support.kubernetes_answers import Place, RefusedError, body_of, require_fresh, typed
from tests.support.kubernetes_fields import (
    FieldConflictError,
    PatchError,
    apply,
    json_patched,
    merge_patched,
    updated,
)
from tests.support.kubernetes_objects import Json, KubernetesObjects

APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_SET_BY_SERVER = ("uid", "creationTimestamp", "generation", "managedFields", "deletionTimestamp")
_WITH_STATUS = ("labels", "annotations", "finalizers", "managedFields")


def create(objects: KubernetesObjects, place: Place, parameters: Json, wanted: Json) -> Json:
    metadata = dict(wanted.get("metadata") or {})
    if metadata.get("resourceVersion"):
        raise RefusedError(400, "resourceVersion should not be set on objects to be created")
    for each in _SET_BY_SERVER:
        metadata.pop(each, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = f"{metadata['generateName']}{objects.revision:05x}"
    name = metadata.get("name", "")
    named = place._replace(name=name)
    if not name:
        raise RefusedError(422, "name or generateName is required")
    if objects.get(place.resource.plural, named.key) is not None:
        raise RefusedError(409, f"{name!r} already exists", reason="AlreadyExists")
    _require_namespace(objects, place)
    return update(objects, named, parameters, None, {**wanted, "metadata": metadata})


def update(
    objects: KubernetesObjects, place: Place, parameters: Json, live: Json | None, wanted: Json
) -> Json:
    document = _with_subresource(place, live, wanted)
    manager = parameters.get("fieldManager", "unknown")
    noted = updated(live, document, manager=manager, subresource=place.subresource)
    written = objects.write(place.resource.plural, place.key, noted)
    return _ended(objects, place, written)


def delete(objects: KubernetesObjects, place: Place, live: Json, body: bytes) -> Json:
    options = body_of(body) if body else {}
    require_fresh(live, {"metadata": options.get("preconditions") or {}})
    if options.get("propagationPolicy") == "Orphan":
        _disown(objects, live)
    if live["metadata"].get("finalizers"):
        metadata = {**live["metadata"], "deletionTimestamp": live["metadata"]["creationTimestamp"]}
        return objects.write(place.resource.plural, place.key, {**live, "metadata": metadata})
    return objects.delete(place.resource.plural, place.key) or {}


def patch(
    objects: KubernetesObjects, place: Place, parameters: Json, live: Json, kind: str, body: bytes
) -> Json:
    try:
        wanted = (
            json_patched(live, json.loads(body))
            if kind == _JSON_PATCH
            else merge_patched(live, body_of(body))
        )
    except PatchError as error:
        raise RefusedError(422, str(error)) from error
    require_fresh(live, wanted)
    return update(objects, place, parameters, live, wanted)


def apply_patch(
    objects: KubernetesObjects, place: Place, parameters: Json, live: Json | None, wanted: Json
) -> Json:
    if not parameters.get("fieldManager"):
        raise RefusedError(400, "fieldManager is required for apply patch")
    if (wanted.get("metadata") or {}).get("managedFields"):
        raise RefusedError(400, "metadata.managedFields must be nil")
    if live is None and place.subresource:
        raise RefusedError(404, f"{place.name!r} not found")
    if live is None:
        _require_namespace(objects, place)
    require_fresh(live or {}, wanted)
    shaped = {k: v for k, v in wanted.items() if _belongs(place, k)}
    try:
        document = apply(
            live or typed(place, {"metadata": {}}),
            shaped,
            manager=parameters["fieldManager"],
            subresource=place.subresource,
            is_forced=parameters.get("force") == "true",
        )
    except FieldConflictError as error:
        raise RefusedError(
            409, f"conflict with {', '.join(error.args)}", cause="FieldManagerConflict"
        ) from error
    if place.subresource:
        document = _with_subresource(place, live, document)
    return _ended(objects, place, objects.write(place.resource.plural, place.key, document))


def _belongs(place: Place, name: str) -> bool:
    if name in ("apiVersion", "kind", "metadata"):
        return True
    if place.subresource == "status":
        return name == "status"
    return not (place.resource.has_status and name == "status")


def _with_subresource(place: Place, live: Json | None, wanted: Json) -> Json:
    """Return what a write means: to status only, or to all but status where there is one."""
    if place.subresource == "status":
        found = {**(live or {}), "metadata": _metadata_with_status(place, live or {}, wanted)}
        found.pop("status", None)
        return found | ({"status": wanted["status"]} if "status" in wanted else {})
    shaped = {name: value for name, value in wanted.items() if _belongs(place, name)}
    if place.resource.has_status and live and "status" in live:
        shaped["status"] = live["status"]
    return shaped


def _metadata_with_status(place: Place, live: Json, wanted: Json) -> Json:
    taken = ("managedFields",) if place.resource.is_custom else _WITH_STATUS
    metadata = {k: v for k, v in live.get("metadata", {}).items() if k not in taken}
    brought: Json = wanted.get("metadata") or {}
    return metadata | {name: brought[name] for name in taken if name in brought}


def _ended(objects: KubernetesObjects, place: Place, written: Json) -> Json:
    """Delete what was waiting for its last finalizer to go."""
    metadata = written["metadata"]
    if (
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and (place.resource.plural != "namespaces")
    ):
        return objects.delete(place.resource.plural, place.key) or written
    return written


def _disown(objects: KubernetesObjects, owner: Json) -> None:
    uid = owner["metadata"]["uid"]
    for plural, key in list(objects.owned.get(uid, ())):
        document: Any = objects.get(plural, key)
        kept = [each for each in document["metadata"]["ownerReferences"] if each["uid"] != uid]
        metadata = {**document["metadata"], "ownerReferences": kept}
        objects.write(plural, key, {**document, "metadata": metadata})


def _require_namespace(objects: KubernetesObjects, place: Place) -> None:
    if not place.resource.namespaced:
        return
    namespace = objects.get("namespaces", ("", place.namespace))
    if namespace is None:
        raise RefusedError(404, f"namespaces {place.namespace!r} not found")
    if namespace["metadata"].get("deletionTimestamp"):
        raise RefusedError(403, "the namespace is ending", cause="NamespaceTerminating")
