"""One object, as JSON has it -> its manifest, or the Problem that says why not.

The one reader of objects: texts come here document by document through ``reading``, other origins
directly. What nobody reads gives None.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from controlplane.manifests.core import ConfigMap
from controlplane.manifests.documents import Limits, Path, field_path
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_connections import AUTHORITY_KEY, RawConfigMap, read_config_map
from controlplane.manifests.read_fields import RefusedFieldError, convert, type_name
from controlplane.manifests.read_kinds import KINDS, SECURITY
from controlplane.manifests.read_mesh_config import read_mesh_config_text
from controlplane.manifests.read_metadata import checked_names, read_metadata
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity

SYSTEM_NAMESPACE: Final = "istio-system"
_MESH_CONFIG_MAP: Final = "istio"
_MESH_KEY: Final = "mesh"
_DEFAULT_LIMITS: Final = Limits()


class Identity(NamedTuple):
    """Which object: its kind and key. Two objects of one identity exclude each other."""

    kind: str
    key: Name

    @property
    def reference(self) -> ObjectReference:
        """Return how users name the object."""
        return ObjectReference(self.kind, self.key.namespace, self.key.name)


MESH_CONFIG: Final = Identity("MeshConfig", Name("", "mesh"))
"""The one mesh configuration, wherever it is written."""


def identity_of(manifest: Manifest | MeshConfig) -> Identity:
    """Return which object ``manifest`` is."""
    if isinstance(manifest, MeshConfig):
        return MESH_CONFIG
    return Identity(manifest.kind, manifest.key)


def read_object(
    value: Any,
    file: str | None = None,
    line: int | None = None,
    *,
    system_namespace: str = SYSTEM_NAMESPACE,
    limits: Limits = _DEFAULT_LIMITS,
) -> Manifest | MeshConfig | Problem | None:
    """Return the manifest ``value`` describes, a Problem that says why it does not, or None.

    None means that nobody reads this kind (or this ConfigMap). ``value`` is a JSON object with
    ``apiVersion`` and ``kind``; ``file`` and ``line`` go into the Problem.
    """
    try:
        return read_or_refuse(value, limits, system_namespace)
    except RefusedFieldError as error:
        identity = readable_identity(value)
        return Problem(
            severity=Severity.ERROR,
            code="manifest.invalid",
            message=error.reason,
            object=identity.reference if identity else None,
            file=file,
            line=line,
            field=field_path(error.path) or None,
        )


def read_or_refuse(
    value: Any, limits: Limits, system_namespace: str
) -> Manifest | MeshConfig | None:
    """Do what ``read_object`` does, but raise RefusedFieldError where that returns a Problem."""
    group, version, kind = type_of(value)
    if (group, kind) == ("", "ConfigMap"):
        return _read_config_map(value, limits, system_namespace)
    row = KINDS.get((group, kind))
    if row is None:
        if group == SECURITY:
            raise RefusedFieldError(("kind",), f"{kind!r} is no kind of {group}")
        if (SECURITY, kind) in KINDS and (not group or "istio" in group):
            raise RefusedFieldError(("apiVersion",), f"{kind} belongs to group {SECURITY}")
        return None
    if version not in row.versions:
        known = ", ".join(row.versions)
        reason = f"{version!r} is no known version of {kind} (known: {known})"
        raise RefusedFieldError(("apiVersion",), reason)
    raw = convert(value, row.raw)
    metadata = read_metadata(
        raw.metadata, namespaced=row.namespaced, keeps_annotations=row.keeps_annotations
    )
    return row.read(raw, metadata)


def type_of(value: Any) -> tuple[str, str, str]:
    """Return API group, version and kind; raises RefusedFieldError."""
    if not isinstance(value, Mapping):
        raise RefusedFieldError((), f"expected an object, got {type_name(value)}")
    texts = []
    for name in ("kind", "apiVersion"):
        text = value.get(name)
        if not isinstance(text, str) or not text:
            reason = (
                "the field is required" if not text else f"expected text, got {type_name(text)}"
            )
            raise RefusedFieldError((name,), reason)
        texts.append(text)
    group, _, version = texts[1].rpartition("/")
    return group, version, texts[0]


def _read_config_map(
    value: Mapping[str, Any], limits: Limits, system_namespace: str
) -> ConfigMap | MeshConfig | None:
    identity = readable_identity(value)
    if identity is None:
        raise RefusedFieldError(("metadata",), "there is no readable name")
    data = value.get("data")
    if identity.key != Name(system_namespace, _MESH_CONFIG_MAP):
        if not isinstance(data, Mapping) or AUTHORITY_KEY not in data:
            return None
        raw = convert(value, RawConfigMap)
        return read_config_map(raw, read_metadata(raw.metadata, namespaced=True))
    text = data.get(_MESH_KEY) if isinstance(data, Mapping) else None
    path: Path = ("data", _MESH_KEY)
    if not isinstance(text, str):
        raise RefusedFieldError(path, f"expected text, got {type_name(text)}")
    try:
        return read_mesh_config_text(text, limits)
    except RefusedFieldError as error:
        inner = f"{field_path(error.path)}: " if error.path else ""
        raise RefusedFieldError(path, f"{inner}{error.reason}") from error


def readable_identity(value: Any) -> Identity | None:
    """Return which object ``value`` means to be, None when that cannot be told."""
    try:
        group, _, kind = type_of(value)
        metadata = value.get("metadata")
        if not isinstance(metadata, Mapping):
            return None
        row = KINDS.get((group, kind))
        name, namespace = checked_names(
            metadata.get("name"),
            metadata.get("namespace"),
            namespaced=row is None or row.namespaced,
        )
    except RefusedFieldError:
        return None
    return Identity(kind, Name(namespace, name))


def kept_identity(identity: Identity | None, system_namespace: str) -> Identity | None:
    """Return whose last good version a refusal protects."""
    config_map = Identity("ConfigMap", Name(system_namespace, _MESH_CONFIG_MAP))
    return MESH_CONFIG if identity == config_map else identity
