"""What the API server says: bodies and lines in, pages, events and versions out.

Objects stay bytes here: they are decoded one by one, as what their kind is, by ``kinds``.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec


class NotUnderstoodError(Exception):
    """Internal to this package: an answer that is not what the API server says there."""


class Page(msgspec.Struct, frozen=True):
    """Part of a list. ``version`` is of the whole list; ``next_page`` "" on the last part."""

    version: str
    next_page: str
    items: list[msgspec.Raw]


class Event(msgspec.Struct, frozen=True):
    """One line of a watch: ``type`` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class Definition(msgspec.Struct, frozen=True):
    """A CustomResourceDefinition; ``versions`` are those that are served.

    ``uid`` tells one that was deleted and made again. Nothing is served until ``is_established``.
    """

    name: str
    uid: str
    group: str
    plural: str
    versions: tuple[str, ...]
    is_established: bool


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next_page: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Versioned(msgspec.Struct):
    metadata: _ListMetadata


class Written(msgspec.Struct, frozen=True, gc=False):
    """What an object says of its last change: ``version`` "" and ``at`` (Unix seconds) 0.0 if not.

    ``at`` is the newest time among the managers of its fields, to the second.
    """

    version: str = ""
    at: float = 0.0


class _Managed(msgspec.Struct, gc=False):
    time: str | None = None


class _WrittenMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    managed_fields: list[_Managed | None] | None = None


class _Writing(msgspec.Struct):
    metadata: _WrittenMetadata


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""


class _Names(msgspec.Struct):
    plural: str


class _Version(msgspec.Struct):
    name: str
    served: bool = False


class _Spec(msgspec.Struct):
    group: str
    names: _Names
    versions: Annotated[list[_Version], msgspec.Meta(min_length=1)]


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _DefinitionStatus(msgspec.Struct):
    conditions: list[_Condition] | None = None


class _DefinitionMetadata(msgspec.Struct):
    name: str
    uid: str = ""


class _Definition(msgspec.Struct):
    metadata: _DefinitionMetadata
    spec: _Spec
    status: _DefinitionStatus | None = None


_FAILURES: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_pages: Final = msgspec.json.Decoder(_List)
_events: Final = msgspec.json.Decoder(Event)
_versioned: Final = msgspec.json.Decoder(_Versioned)
_writings: Final = msgspec.json.Decoder(_Writing)
_statuses: Final = msgspec.json.Decoder(_Status)
_definitions: Final = msgspec.json.Decoder(_Definition)


def read_page(body: bytes) -> Page:
    """Return the part of a list that ``body`` is; raises NotUnderstoodError."""
    try:
        found = _pages.decode(body)
    except _FAILURES as error:
        raise NotUnderstoodError("the answer is no list") from error
    if not found.metadata.resource_version:
        raise NotUnderstoodError("the list has no resource version")
    return Page(found.metadata.resource_version, found.metadata.next_page, found.items or [])


def read_event(line: bytes) -> Event:
    """Return the event that ``line`` is; raises NotUnderstoodError."""
    try:
        return _events.decode(line)
    except _FAILURES as error:
        raise NotUnderstoodError("the line is no event") from error


def version_of(text: msgspec.Raw) -> str:
    """Return the resource version of an object; raises NotUnderstoodError where it has none."""
    try:
        version = _versioned.decode(text).metadata.resource_version
    except _FAILURES as error:
        raise NotUnderstoodError("an object has no resource version") from error
    if not version:
        raise NotUnderstoodError("an object has no resource version")
    return version


def written(text: bytes | msgspec.Raw) -> Written:
    """Return what an object says of its last change; never raises."""
    try:
        found = _writings.decode(text).metadata
        times = [each.time for each in found.managed_fields or () if each and each.time]
        # All of one shape (RFC 3339, UTC, seconds), so the greatest text is the newest.
        at = datetime.fromisoformat(max(times)).timestamp() if times else 0.0
    except (*_FAILURES, ValueError, OverflowError, OSError):
        return Written()
    return Written(found.resource_version, at)


def status_code(text: bytes | msgspec.Raw) -> int:
    """Return the HTTP status that a Status object stands for, 0 where it says none."""
    try:
        return _statuses.decode(text).code
    except _FAILURES:
        return 0


def read_definition(text: msgspec.Raw) -> Definition:
    """Return the CustomResourceDefinition that ``text`` is; raises NotUnderstoodError."""
    try:
        found = _definitions.decode(text)
    except _FAILURES as error:
        raise NotUnderstoodError("an object is no CustomResourceDefinition") from error
    conditions = (found.status.conditions if found.status else None) or ()
    return Definition(
        name=found.metadata.name,
        uid=found.metadata.uid,
        group=found.spec.group,
        plural=found.spec.names.plural,
        versions=tuple(each.name for each in found.spec.versions if each.served),
        is_established=any(
            each.type == "Established" and each.status == "True" for each in conditions
        ),
    )
