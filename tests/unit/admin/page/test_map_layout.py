"""Nothing on the map overlaps, whatever is on it; texts fit where they are put."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.admin.page.lettering import fitted, width_of
from controlplane.admin.page.map_layout import LABEL_SIZE, NOTE_SIZE, lay_out
from controlplane.admin.page.map_values import (
    Box,
    BoxKind,
    Drawing,
    Flow,
    FlowKind,
    Label,
    Rectangle,
)

TEXTS = st.text(max_size=70)


GROUPS = (
    "shop",
    "till",
    "",
    "a-namespace-with-a-name-of-sixty-three-characters-as-they-may-be",
    "ns",
)
ENDS = (*(f"box {number}" for number in range(60)), *GROUPS, "nowhere")

PARTS = st.tuples(
    st.sampled_from(GROUPS),
    st.sampled_from(BoxKind),
    TEXTS,
    st.sampled_from(["", "3/3", "12345/12345"]),
    st.sampled_from(["", "anybody may call", "x" * 90]),
)
FLOWS = st.builds(Flow, st.sampled_from(ENDS), st.sampled_from(ENDS), st.sampled_from(FlowKind))


def _area(label: Label, size: float) -> Rectangle:
    width = width_of(label.text, size)
    return Rectangle(label.x - width if label.is_end else label.x, label.y - size, width, size)


def _check(drawing: Drawing) -> None:
    groups = [group.place for group in drawing.groups]
    boxes = [box.place for box in drawing.boxes]
    for places in (groups, boxes):
        assert not any(one.overlaps(other) for one, other in combinations(places, 2))
    whole = Rectangle(0, 0, drawing.width, drawing.height)
    assert all(whole.holds(place) for place in groups)
    by_name = {group.name: group.place for group in drawing.groups}
    for box in drawing.boxes:
        assert by_name[box.box.group].holds(box.place)
        texts = [
            _area(box.label, LABEL_SIZE),
            _area(box.amount, NOTE_SIZE),
            _area(box.note, NOTE_SIZE),
        ]
        texts = [text for text in texts if text.width]
        assert all(box.place.holds(text) for text in texts)
        assert not any(one.overlaps(other) for one, other in combinations(texts, 2))
    for group in drawing.groups:
        texts = [_area(group.amount, NOTE_SIZE), _area(group.label, LABEL_SIZE)]
        texts = [text for text in texts if text.width]
        assert all(group.place.holds(text) for text in texts)
        assert not any(one.overlaps(other) for one, other in combinations(texts, 2))
        assert not any(text.overlaps(place) for text in texts for place in boxes)


@settings(max_examples=60)
@given(
    st.lists(PARTS, max_size=60),
    st.lists(FLOWS, max_size=40),
    st.sampled_from([300.0, 1000.0, 1600.0]),
)
def test_nothing_overlaps(
    parts: list[tuple[str, BoxKind, str, str, str]], flows: list[Flow], width: float
) -> None:
    boxes = [Box(f"box {number}", *each) for number, each in enumerate(parts)]
    drawing = lay_out(boxes, flows, width=width)
    assert [each.box for each in drawing.boxes if each.box not in boxes] == []
    assert len(drawing.boxes) == len(boxes)
    _check(drawing)
    ends = {box.key for box in boxes} | {box.group for box in boxes}
    for each in drawing.flows:
        assert {each.flow.source, each.flow.target} <= ends


def test_two_hundred_services_are_drawn_on_one_screen_width() -> None:
    boxes = [
        Box(f"s{number}", f"team-{number % 12}", BoxKind.SERVICE, f"service-{number}")
        for number in range(200)
    ]
    flows = [Flow(f"s{number}", f"s{(number * 7) % 200}", FlowKind.ALLOW) for number in range(200)]
    drawing = lay_out(boxes, flows)
    _check(drawing)
    assert drawing.width <= 1000
    assert drawing.height < 200 * 30


def test_who_calls_is_left_of_who_is_called() -> None:
    boxes = [Box(name, "shop", BoxKind.SERVICE, name) for name in ("web", "db", "api", "cron")]
    flows = [Flow("web", "api", FlowKind.ALLOW), Flow("api", "db", FlowKind.ALLOW)]
    left = {each.box.key: each.place.x for each in lay_out(boxes, flows).boxes}
    assert left["web"] < left["api"] < left["db"]


def test_circles_of_callers_are_drawn_as_well() -> None:
    boxes = [Box(name, "shop", BoxKind.SERVICE, name) for name in "ab"]
    flows = [Flow("a", "b", FlowKind.ALLOW), Flow("b", "a", FlowKind.ALLOW)]
    assert len(lay_out(boxes, flows).flows) == 2


def test_a_line_may_come_from_a_whole_group() -> None:
    boxes = [Box("a", "shop", BoxKind.SERVICE, "a"), Box("b", "till", BoxKind.SERVICE, "b")]
    drawing = lay_out(boxes, [Flow("shop", "b", FlowKind.ALLOW), Flow("till", "b", FlowKind.ALLOW)])
    assert [each.flow.source for each in drawing.flows] == ["shop"]


@given(TEXTS, st.floats(0, 400), st.sampled_from([11.0, 13.0]))
def test_a_fitted_text_fits(text: str, width: float, size: float) -> None:
    found = fitted(text, width, size)
    assert width_of(found, size) <= width + 1e-6
    assert found == text or "…" in found or not found


def test_both_ends_of_a_long_name_are_kept() -> None:
    found = fitted("recommendations-consumer-for-eu-west-2", 150, 13)
    assert found.startswith("recom")
    assert found.endswith("west-2")
