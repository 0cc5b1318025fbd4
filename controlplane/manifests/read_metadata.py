"""Object metadata: names, labels, age and owner.

Comes in as the raw struct of an object's ``metadata``; goes out as ``Metadata``. Names are held to
what Kubernetes accepts, because they become keys and resource names.
"""

import re
from sys import intern
from typing import Annotated, Any, Final

import msgspec

from controlplane.manifests.metadata import Metadata, Owner
from controlplane.manifests.read_fields import Moment, RefusedFieldError, objects
from controlplane.manifests.sharing import shared_mapping, shared_owner

_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_DOMAIN: Final = "istio.io"
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


Generation = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class RawOwner(msgspec.Struct, rename="camel"):
    """One entry of ``ownerReferences``."""

    kind: str | None = None
    name: str | None = None
    controller: bool | None = None


class RawMetadata(msgspec.Struct, rename="camel"):
    """``metadata`` as written."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    uid: str | None = None
    generation: Generation | None = None
    creation_timestamp: Moment | None = None
    deletion_timestamp: str | None = None
    generate_name: str | None = None
    owner_references: list[RawOwner | None] | None = None


class RawObject(msgspec.Struct, rename="camel"):
    """What every object has."""

    metadata: RawMetadata | None = None


_NO_OWNER: Final = RawOwner()
_NO_METADATA: Final = RawMetadata()


def read_metadata(
    raw: RawMetadata | None, *, namespaced: bool, keeps_annotations: bool = False
) -> Metadata:
    """Return the metadata, with namespace ``default`` or "" where none applies.

    Annotations that no rule reads are left out (MF-23) unless ``keeps_annotations``: every change
    of theirs would be a change of the object.

    Raises RefusedFieldError for a missing or impossible name or namespace.
    """
    raw = raw or _NO_METADATA
    name, namespace = checked_names(raw.name, raw.namespace, namespaced=namespaced)
    created = raw.creation_timestamp
    return Metadata(
        name=name,
        namespace=intern(namespace),
        labels=shared_mapping(raw.labels),
        annotations=shared_mapping(
            raw.annotations if keeps_annotations else read_by_rules(raw.annotations)
        ),
        uid=raw.uid or "",
        generation=raw.generation,
        created=created.timestamp() if created else 0.0,
        deleting=raw.deletion_timestamp is not None,
        generate_name=intern(raw.generate_name or ""),
        owner=_owner(raw),
    )


def read_by_rules(annotations: dict[str, str] | None) -> dict[str, str]:
    """Return the annotations of istio.io and the domains below it."""
    return {
        key: value
        for key, value in (annotations or {}).items()
        if key.partition("/")[0].endswith(_DOMAIN)
    }


def checked_names(name: Any, namespace: Any, *, namespaced: bool) -> tuple[str, str]:
    """Return the name and the effective namespace; raises RefusedFieldError."""
    if name is None or name == "":
        raise RefusedFieldError(("metadata", "name"), "the field is required")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RefusedFieldError(("metadata", "name"), f"{name!r} is not a name")
    if not namespaced:
        return name, ""
    namespace = "default" if namespace in (None, "") else namespace
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise RefusedFieldError(("metadata", "namespace"), f"{namespace!r} is not a namespace")
    return name, namespace


def _owner(raw: RawMetadata) -> Owner | None:
    for owner in objects(raw.owner_references, _NO_OWNER):
        if owner.controller:
            return shared_owner(Owner(kind=owner.kind or "", name=owner.name or ""))
    return None
