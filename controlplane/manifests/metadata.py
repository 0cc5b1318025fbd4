"""What every object carries: its name, labels, annotations and age."""

import msgspec

from controlplane.model.names import Name, ObjectReference


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The controlling owner of an object (``controller: true``)."""

    kind: str
    name: str


class Metadata(msgspec.Struct, frozen=True):
    """Object metadata, trimmed.

    ``created`` is Unix seconds, 0.0 when unknown (sorts as oldest). ``deleting`` says that a
    deletion timestamp is set. ``resourceVersion`` and managed fields are left out on purpose: a
    heartbeat must compare equal.
    """

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    generation: int | None = None
    created: float = 0.0
    deleting: bool = False
    generate_name: str = ""
    owner: Owner | None = None

    @property
    def key(self) -> Name:
        """Return the collection key of the object within its kind."""
        return Name(self.namespace, self.name)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One object. The class name is its kind, unless a subclass says otherwise."""

    metadata: Metadata

    @property
    def kind(self) -> str:
        """Return the Kubernetes kind."""
        return type(self).__name__

    @property
    def key(self) -> Name:
        """Return the collection key of the object within its kind."""
        return Name(self.metadata.namespace, self.metadata.name)

    @property
    def reference(self) -> ObjectReference:
        """Return how users name the object."""
        return ObjectReference(self.kind, self.metadata.namespace, self.metadata.name)
