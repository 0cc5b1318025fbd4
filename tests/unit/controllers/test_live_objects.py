import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from controlplane.cluster.apply import Outcome
from controlplane.cluster.errors import ClusterRefusedError, ClusterUnavailableError
from controlplane.controllers.live_objects import Live, LiveObjects
from controlplane.model.names import Name
from tests.support.cluster_memory import ClusterMemory
from tests.support.cluster_time import PassingClock


def text(name: str, **fields: Any) -> msgspec.Raw:
    document = {"metadata": {"name": name, "namespace": "shop"}, **fields}
    return msgspec.Raw(json.dumps(document).encode())


@dataclass
class Lead:
    seconds_left: float = 0.0


@dataclass
class Following:
    changes: list[tuple[str, bool, bool]] = field(default_factory=list)
    known: int = 0

    def __post_init__(self) -> None:
        self.live = LiveObjects(
            ClusterMemory(),
            "/api/v1/configmaps",
            {},
            changed=self._changed,
            known=self._known,
            clock=PassingClock(),
        )

    def _changed(self, key: Name, before: Live | None, after: Live | None) -> None:
        self.changes.append((key.name, before is not None, after is not None))

    def _known(self) -> None:
        self.known += 1

    def list(self, *texts: msgspec.Raw) -> None:
        self.live.list_began()
        for each in texts:
            self.live.listed(each)
        self.live.list_ended()
        self.live.heard()


def test_what_a_list_names_is_held_and_what_it_does_not_name_is_gone() -> None:
    following = Following()
    following.list(text("a"), text("b"))
    assert (following.known, following.live.is_listed) == (1, True)
    assert following.changes == [("a", False, True), ("b", False, True)]
    following.changes.clear()
    following.list(text("b"), text("c"))
    assert following.changes == [("a", True, False), ("c", False, True)]
    assert {live["metadata"]["name"] for live in following.live} == {"b", "c"}
    assert following.live.get(Name("shop", "a")) is None


def test_events_change_one_object() -> None:
    following = Following()
    following.list(text("a"))
    following.changes.clear()
    following.live.happened("MODIFIED", text("a"))
    assert not following.changes
    following.live.happened("MODIFIED", text("a", data={"x": "1"}))
    following.live.happened("ADDED", text("b"))
    following.live.happened("DELETED", text("a"))
    following.live.happened("DELETED", text("a"))
    assert following.changes == [("a", True, True), ("b", False, True), ("a", True, False)]


@pytest.mark.parametrize(
    "broken", [b"[", b"[]", b"{}", b'{"metadata": 3}', b'{"metadata": {"name": 3}}']
)
def test_what_is_no_object_is_passed_over(broken: bytes) -> None:
    following = Following()
    following.list(msgspec.Raw(broken), text("a"))
    following.live.happened("MODIFIED", msgspec.Raw(broken))
    following.live.happened("SURPRISE", text("b"))
    assert following.changes == [("a", False, True)]


def test_it_says_why_it_cannot_follow_and_keeps_what_it_held() -> None:
    following = Following()
    following.list(text("a"))
    assert following.live.trouble is None
    following.live.troubled(ClusterUnavailableError("away"))
    following.live.troubled(ClusterUnavailableError("away"))
    trouble = following.live.trouble
    assert trouble is not None
    assert (trouble.outcome, trouble.tries) == (Outcome.UNAVAILABLE, 2)
    assert trouble.message == "/api/v1/configmaps: away"
    assert following.live.get(Name("shop", "a")) is not None
    following.live.heard()
    assert following.live.trouble is None


def test_a_kind_that_does_not_exist_is_tried_and_no_trouble() -> None:
    following = Following()
    assert not following.live.is_tried
    following.live.troubled(ClusterRefusedError(404))
    assert (following.known, following.live.is_tried, following.live.is_listed) == (1, True, False)
    assert following.live.trouble is None
    following.live.troubled(ClusterRefusedError(404))
    assert following.known == 1
