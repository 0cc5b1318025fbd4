"""Where everything on the map goes: boxes and lines in, places out. Pure.

Groups are columns of boxes, set side by side where there is room; nothing overlaps because each
group takes whole columns of one grid and starts below what those columns already hold.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Final, NamedTuple

from controlplane.admin.page.lettering import fitted, width_of
from controlplane.admin.page.map_values import (
    Box,
    BoxKind,
    Drawing,
    Flow,
    Label,
    PlacedBox,
    PlacedFlow,
    PlacedGroup,
    Rectangle,
)

COLUMN: Final = 200.0
"""Width of a box, and with GUTTER of a column of the grid."""

GUTTER: Final = 52.0
WIDEST_GUTTER: Final = 220.0
BOX_HEIGHT: Final = 46.0
ROW: Final = 60.0
HEADING: Final = 40.0
PADDING: Final = 16.0
BETWEEN: Final = 24.0
LABEL_SIZE: Final = 13.0
NOTE_SIZE: Final = 11.0
ROOMY: Final = 40
"""Boxes up to which there is room to draw wide."""

_INDENT: Final = 14.0
_KIND_ORDER: Final = (BoxKind.OUTSIDE, BoxKind.ACCOUNT, BoxKind.SERVICE, BoxKind.WAYPOINT)


def lay_out(boxes: Sequence[Box], flows: Sequence[Flow], *, width: float = 1000.0) -> Drawing:
    """Return the map of ``boxes`` and the ``flows`` between them, ``width`` pixels wide.

    Flows from or to what is not on the map are left out.
    """
    columns = max(1, int((width + GUTTER - 2 * PADDING) // (COLUMN + GUTTER)))
    arranged = _arranged(boxes, flows, columns)
    used = max(
        (start + len(group.columns) for group, start in _starts(arranged, columns)), default=1
    )
    gutter = GUTTER
    if used < columns:
        # What is left over goes between the columns, where the lines are.
        spare = (width - 2 * PADDING - used * COLUMN) / max(1, used - 1)
        gutter = max(GUTTER, min(WIDEST_GUTTER, spare))
    return _placed_all(arranged, flows, columns=used, gutter=gutter)


def _placed_all(
    arranged: Sequence["_Arranged"], flows: Sequence[Flow], *, columns: int, gutter: float
) -> Drawing:
    heights = [0.0] * columns
    groups: list[PlacedGroup] = []
    placed: list[PlacedBox] = []
    pitch = COLUMN + gutter
    for group in arranged:
        span = len(group.columns)
        start = _lowest(heights, span)
        top = max(heights[start : start + span])
        rows = max(map(len, group.columns))
        place = Rectangle(
            start * pitch,
            top,
            span * pitch - gutter + 2 * PADDING,
            HEADING + rows * ROW - (ROW - BOX_HEIGHT) + PADDING,
        )
        groups.append(_group(group.name, sum(map(len, group.columns)), place))
        for column, members in enumerate(group.columns):
            for row, box in enumerate(members):
                x = place.x + PADDING + column * pitch
                y = place.y + HEADING + row * ROW
                placed.append(_placed(box, Rectangle(x, y, COLUMN, BOX_HEIGHT)))
        heights[start : start + span] = [top + place.height + BETWEEN] * span
    places = {each.box.key: each.place for each in placed}
    headings = {each.name: each.place for each in groups}
    lines = [
        PlacedFlow(flow, path)
        for flow in dict.fromkeys(flows)
        if (path := _path(flow, places, headings))
    ]
    return Drawing(
        width=columns * pitch - gutter + 2 * PADDING,
        height=max(0.0, max(heights) - BETWEEN),
        groups=tuple(groups),
        boxes=tuple(placed),
        flows=tuple(lines),
    )


class _Arranged(NamedTuple):
    """A group and the columns of its boxes."""

    name: str
    columns: list[list[Box]]


def _starts(arranged: Sequence[_Arranged], columns: int) -> list[tuple[_Arranged, int]]:
    """Return in which column each group would start if all of ``columns`` were there."""
    heights = [0.0] * columns
    found = []
    for group in arranged:
        span = len(group.columns)
        start = _lowest(heights, span)
        end = max(heights[start : start + span]) + max(map(len, group.columns)) * ROW + HEADING
        heights[start : start + span] = [end] * span
        found.append((group, start))
    return found


def _arranged(boxes: Sequence[Box], flows: Sequence[Flow], columns: int) -> list[_Arranged]:
    """Return groups with their boxes in columns: who calls is left of who is called."""
    levels = _levels(boxes, flows)
    met = {key for flow in flows for key in (flow.source, flow.target)}
    is_roomy = len(boxes) <= ROOMY
    callers: dict[str, list[str]] = {}
    for source, target, _ in flows:
        callers.setdefault(target, []).append(source)
    found = []
    for name, members in _grouped(boxes).items():
        span = _span(members, levels, columns, is_roomy=is_roomy)
        by_level: dict[int, list[Box]] = {}
        for box in members:
            # Where there is little room, columns are filled up, whoever calls whom.
            level = min(levels[box.key], span - 1) if is_roomy else 0
            by_level.setdefault(level, []).append(box)
        rows = -(-len(members) // span)
        while sum(-(-len(each) // rows) for each in by_level.values()) > span:
            rows += 1
        group = _Arranged(name, [])
        rank: dict[str, float] = {}
        for level in sorted(by_level):

            def order(box: Box, rank: dict[str, float] = rank) -> tuple[bool, int, float, int, str]:
                near = [rank[key] for key in callers.get(box.key, ()) if key in rank]
                middle = sum(near) / len(near) if near else 0.0
                level = 0 if is_roomy else levels[box.key]
                return box.key not in met, level, middle, _KIND_ORDER.index(box.kind), box.label

            ordered = sorted(by_level[level], key=order)
            for start in range(0, len(ordered), rows):
                column = ordered[start : start + rows]
                group.columns.append(column)
                rank.update((box.key, row) for row, box in enumerate(column))
        found.append(group)
    return found


def _grouped(boxes: Sequence[Box]) -> dict[str, list[Box]]:
    """Return boxes by group: who is outside first, then large ones before small ones."""
    found: dict[str, list[Box]] = {}
    for box in boxes:
        found.setdefault(box.group, []).append(box)

    def order(name: str) -> tuple[bool, int, str]:
        is_outside = all(box.kind is BoxKind.OUTSIDE for box in found[name])
        return not is_outside, -len(found[name]), name

    return {name: found[name] for name in sorted(found, key=order)}


def _span(
    members: Sequence[Box], levels: Mapping[str, int], columns: int, *, is_roomy: bool
) -> int:
    """Return over how many columns a group goes: what its lines need, or what looks balanced."""
    count = len(members)
    if not is_roomy:
        return max(1, min(columns, count, round(sqrt(count / 2))))
    steps = len({levels[box.key] for box in members})
    return max(1, min(columns, count, max(round(sqrt(count / 4)), steps)))


def _lowest(heights: Sequence[float], span: int) -> int:
    """Return the first column of the ``span`` neighbours under which the most room is left."""
    starts = range(len(heights) - span + 1)
    return min(starts, key=lambda start: (max(heights[start : start + span]), start))


def _levels(boxes: Sequence[Box], flows: Sequence[Flow]) -> Mapping[str, int]:
    """Return how many steps each box is from whoever nobody calls; circles end the counting."""
    levels = dict.fromkeys((box.key for box in boxes), 0)
    for _ in range(min(8, len(boxes))):
        before = dict(levels)
        for source, target, _kind in flows:
            if source in levels and target in levels and source != target:
                levels[target] = max(levels[target], min(before[source] + 1, 8))
        if before == levels:
            break
    return levels


def _group(name: str, members: int, place: Rectangle) -> PlacedGroup:
    count = str(members)
    room = place.width - 2 * PADDING - width_of(count, NOTE_SIZE) - _INDENT
    baseline = place.y + 25
    return PlacedGroup(
        name,
        place,
        Label(place.x + PADDING, baseline, fitted(name, room, LABEL_SIZE)),
        Label(place.x + place.width - PADDING, baseline, count, is_end=True),
    )


def _placed(box: Box, place: Rectangle) -> PlacedBox:
    left, right = place.x + _INDENT, place.x + place.width - _INDENT
    count = fitted(box.amount, place.width / 3, NOTE_SIZE)
    room = right - left - (width_of(count, NOTE_SIZE) + _INDENT / 2 if count else 0)
    upper = place.y + (20 if box.note else place.height / 2 + 4.5)
    return PlacedBox(
        box,
        place,
        Label(left, upper, fitted(box.label, room, LABEL_SIZE)),
        Label(right, upper, count, is_end=True),
        Label(left, place.y + 36, fitted(box.note, right - left, NOTE_SIZE)),
    )


def _path(flow: Flow, places: Mapping[str, Rectangle], headings: Mapping[str, Rectangle]) -> str:
    """Return the course of a line: out of one side of its source, into one of its target."""
    target = places.get(flow.target)
    source = places.get(flow.source)
    if target is None or flow.source == flow.target:
        return ""
    if source is None:
        heading = headings.get(flow.source)
        if heading is None or heading.holds(target):
            return ""
        source = Rectangle(heading.x, heading.y + 8, heading.width, HEADING - 16)
    start_y, end_y = source.y + source.height / 2, target.y + target.height / 2
    if source.x + source.width <= target.x:
        start, end = source.x + source.width, target.x
        bend = max(GUTTER / 2, (end - start) / 2)
        return _curve(start, start_y, start + bend, end - bend, end, end_y)
    if target.x + target.width <= source.x:
        start, end = source.x, target.x + target.width
        bend = max(GUTTER / 2, (start - end) / 2)
        return _curve(start, start_y, start - bend, end + bend, end, end_y)
    start, end = source.x + source.width, target.x + target.width
    bend = GUTTER * 0.75
    return _curve(start, start_y, start + bend, end + bend, end, end_y)


def _curve(x: float, y: float, near: float, far: float, end_x: float, end_y: float) -> str:
    return f"M{x:g} {y:g}C{near:g} {y:g} {far:g} {end_y:g} {end_x:g} {end_y:g}"
