"""The property of test_waypoint_session has teeth: each of these planted faults breaks it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from controlplane.snapshots.view import View
from controlplane.xds.waypoint_subscription import WaypointSubscription
from controlplane.xds.waypoint_types import WaypointTypes
from tests.property.test_waypoint_session import Service, converge, histories, starts

PLANTED: dict[str, tuple[type, str, Any]] = {
    "routes overtake clusters": (WaypointTypes, "_may_name_clusters", lambda *_: True),
    "clusters go before what names them": (WaypointTypes, "_may_remove_cluster", lambda *_: True),
    "routes go before their listeners": (WaypointTypes, "_may_remove_routes", lambda *_: True),
    "endpoints go before their clusters": (WaypointTypes, "_may_remove_endpoints", lambda *_: True),
    "changed clusters wait for endpoints": (WaypointTypes, "_clusters_sent", lambda *_: None),
    "what is sent counts as accepted": (
        WaypointSubscription,
        "accepted",
        property(lambda subscription: subscription.cursor),
    ),
    "forgotten removals go unnoticed": (View, "reaches", lambda *_: True),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, planted = PLANTED[fault]
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises(AssertionError):
        _played(converge)()


def _played(play: Callable[[dict[int, Service], list[Any]], Any]) -> Callable[[], None]:
    @settings(
        max_examples=3000,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(start=starts, history=histories)
    def played(start: dict[int, Service], history: list[Any]) -> None:
        play(start, history)

    return played
