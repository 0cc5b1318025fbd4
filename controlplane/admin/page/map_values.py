"""What the map shows, and where: values between who reads the mesh, the layout and the drawing."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class BoxKind(StrEnum):
    """What a box stands for."""

    SERVICE = "service"
    WAYPOINT = "waypoint"
    ACCOUNT = "account"
    OUTSIDE = "outside"


class FlowKind(StrEnum):
    """What a line says: may call, may not, or sends its traffic through."""

    ALLOW = "allow"
    DENY = "deny"
    THROUGH = "through"


class Box(NamedTuple):
    """One thing on the map. ``tone`` is good, warn, bad or calm; ``href`` "" leads nowhere."""

    key: str
    group: str
    kind: BoxKind
    label: str
    amount: str = ""
    note: str = ""
    tone: str = "calm"
    href: str = ""


class Flow(NamedTuple):
    """A line between two boxes; a source that names a group of the map comes from all of it."""

    source: str
    target: str
    kind: FlowKind


class Rectangle(NamedTuple):
    """A place on the map, in pixels from its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: "Rectangle") -> bool:
        """Return whether the two share more than an edge."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def holds(self, other: "Rectangle") -> bool:
        """Return whether ``other`` is inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )


class Label(NamedTuple):
    """Text that fits where it is put: ``x`` is its left end, or its right end when ``is_end``."""

    x: float
    y: float
    text: str
    is_end: bool = False


class PlacedBox(NamedTuple):
    """A box with its place and its texts."""

    box: Box
    place: Rectangle
    label: Label
    amount: Label
    note: Label


class PlacedGroup(NamedTuple):
    """A group with its place and its heading."""

    name: str
    place: Rectangle
    label: Label
    amount: Label


class PlacedFlow(NamedTuple):
    """A line: ``path`` is its course in SVG's words."""

    flow: Flow
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The whole map, laid out."""

    width: float
    height: float
    groups: tuple[PlacedGroup, ...]
    boxes: tuple[PlacedBox, ...]
    flows: tuple[PlacedFlow, ...]
