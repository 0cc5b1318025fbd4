"""Names of things: how objects, services and policies are keyed everywhere.

Named tuples, because they are the keys of every collection: their hash and equality run in C.
"""

from typing import NamedTuple


class Name(NamedTuple):
    """Namespace and name of one object; ``namespace`` is "" for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ServiceName(NamedTuple):
    """Key of a service on the wire: ``<namespace>/<hostname>`` (docs/protocol/messages.md)."""

    namespace: str
    hostname: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.hostname}"


class ObjectReference(NamedTuple):
    """One object as users name it: kind, namespace ("" when cluster-scoped) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"
