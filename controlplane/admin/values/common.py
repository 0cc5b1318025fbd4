"""Values that most answers are made of: where things come from, who has them, pages of them."""

from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from controlplane.model.names import ObjectReference

T = TypeVar("T")


class Value(BaseModel):
    """A frozen value of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reference(Value):
    """One object as users name it; ``namespace`` is empty for objects of the cluster."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, reference: ObjectReference) -> Self:
        """Return ``reference`` as a value."""
        return cls(kind=reference.kind, namespace=reference.namespace, name=reference.name)


class Source(Value):
    """Where something comes from.

    ``object`` is null where no single object stands behind it. ``file`` is the path of a manifest,
    or the word for the cluster; it is empty when it is not known. ``resource_version`` is the
    version that the cluster gave the object when what is read of it last changed; empty for files.
    """

    object: Reference | None = None
    file: str = ""
    line: int | None = None
    resource_version: str = ""


class Served(Value):
    """What clients are sent of something, and how many of this replica's connections have it.

    ``version`` is the same on every replica; ``commit`` is this replica's number for the last
    change. ``holding`` and ``waiting`` count connections that see it; ``on_demand`` those that ask
    for names one by one, of which it is not known whether they asked for this. ``elsewhere`` counts
    connections of other replicas that see what this one sends there: whether they have it only
    those replicas know, which count their own commits.
    """

    version: str
    commit: int
    bytes: int
    holding: int = 0
    waiting: int = 0
    on_demand: int = 0
    elsewhere: int = 0


class Holder(Value):
    """One connection that sees something, and whether it has acknowledged its newest version."""

    replica: str
    number: int
    name: str
    node: str
    holds: bool


class Page(Value, Generic[T]):
    """Some elements of a list, in order.

    ``next`` is what ``after`` must be to go on; null at the end. A page may hold fewer elements
    than asked for, or none, and yet have a ``next``: one request looks at a limited number of
    elements. ``total`` counts the whole list, null where a filter makes that costly. ``commit`` is
    the commit of this replica at which the page was read.
    """

    items: tuple[T, ...]
    next: str | None = None
    total: int | None = Field(default=None, ge=0)
    commit: int
