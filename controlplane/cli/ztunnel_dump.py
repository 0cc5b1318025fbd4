"""The dump of a node proxy: JSON in, values that tables are made of out.

It may be a ztunnel's own, whatever its version, or what a server says it sends to a node
(docs/protocol/admin.md AM-30 to AM-33): keys that are missing, null or unknown do not matter, and
older forms are read too: lists that were maps, and virtual addresses among ``addresses``.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from controlplane.cli.errors import CommandError

PARTS: Final = ("workloads", "services", "policies", "certificates")

_Part = TypeVar("_Part")


class Gateway(msgspec.Struct, rename="camel"):
    """Where a waypoint is: ``namespace/hostname`` or ``network/address``."""

    destination: str = ""


class Workload(msgspec.Struct, rename="camel"):
    """One workload; of a destination for its waypoint only the text counts."""

    uid: str = ""
    name: str = ""
    namespace: str = ""
    workload_ips: list[str] | None = None
    hostname: str | None = ""
    node: str | None = ""
    protocol: str | None = ""
    status: str | None = ""
    waypoint: Gateway | None = None


class Endpoint(msgspec.Struct, rename="camel"):
    """One workload of a service; ``status`` only where whoever made the dump tells it here."""

    workload_uid: str = ""
    status: str | None = None


class Service(msgspec.Struct, rename="camel"):
    """One service; addresses are ``network/address``."""

    name: str = ""
    namespace: str = ""
    hostname: str = ""
    vips: list[str] | None = None
    addresses: list[str] | None = None
    cidr_vips: list[str] | None = None
    endpoints: dict[str, Endpoint] | list[Endpoint] | None = None
    waypoint: Gateway | None = None


class Policy(msgspec.Struct, rename="camel"):
    """One policy."""

    name: str = ""
    namespace: str = ""
    action: str | None = ""
    scope: str | None = ""


class Certificate(msgspec.Struct, rename="camel"):
    """One certificate of a chain; the number is decimal, times are RFC 3339."""

    serial_number: str | None = ""
    valid_from: str | None = ""
    expiration_time: str | None = ""


class Secret(msgspec.Struct, rename="camel"):
    """What a proxy has for one identity; a state that is no text has its reason inside."""

    identity: str = ""
    state: str | dict[str, Any] | None = ""
    cert_chain: list[Certificate] | None = None
    root_certs: list[Certificate] | None = None


class Dump:
    """One dump. ``document`` is what was read, for whoever wants it whole."""

    def __init__(self, document: dict[str, Any], place: str) -> None:
        self.document = document
        self._place = place

    @classmethod
    def read(cls, text: bytes, place: str) -> "Dump":
        """Return the dump in ``text``; ``place`` says in complaints where it is from.

        Raises:
            CommandError: it is none.
        """
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise CommandError(f"{place} is no JSON: {error}") from error
        return cls.of(document, place)

    @classmethod
    def of(cls, document: Any, place: str) -> "Dump":
        """Return the dump that ``document`` is.

        Raises:
            CommandError: it is none.
        """
        if not isinstance(document, dict) or not any(part in document for part in PARTS):
            raise CommandError(f"{place} is no dump of a node proxy")
        return cls(document, place)

    def elements(self, part: str) -> list[Any]:
        """Return one of PARTS as it was read, as a list.

        Raises:
            CommandError: it is something else.
        """
        held = self.document.get(part)
        if held is None:
            return []
        if isinstance(held, dict):
            return list(_flat(held))
        if not isinstance(held, list):
            raise CommandError(f"{self._place}: {part} is neither a list nor a map")
        return held

    def read_as(self, element: Any, kind: type[_Part]) -> _Part:
        """Return an element as a value.

        Raises:
            CommandError: it is something else.
        """
        try:
            return msgspec.convert(element, kind)
        except msgspec.ValidationError as error:
            word = kind.__name__.lower()
            raise CommandError(f"{self._place} has a {word} of another shape: {error}") from error

    def part(self, part: str, kind: type[_Part]) -> list[_Part]:
        """Return all elements of one of PARTS as values.

        Raises:
            CommandError: they are something else.
        """
        return [self.read_as(each, kind) for each in self.elements(part)]


def _flat(held: dict[str, Any]) -> Iterator[Any]:
    """Yield what is in a map, and in the maps of a map (services by namespace and hostname)."""
    for element in held.values():
        if isinstance(element, dict) and "name" not in element and "identity" not in element:
            yield from element.values()
        else:
            yield element
