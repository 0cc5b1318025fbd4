from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.controllers.gateway_conditions import (
    GatewayHost,
    WantedStatus,
    class_condition,
    gateway_status,
)
from controlplane.controllers.gateway_patches import (
    class_patch,
    gateway_patch,
    with_addresses_of,
)
from controlplane.manifests.gateway import GatewayAddress
from controlplane.model.names import Name
from tests.unit.controllers.test_waypoint_objects import a_class, a_gateway

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 12, tzinfo=UTC)
WAYPOINT = Name("shop", "waypoint")
HOST = "waypoint.shop.svc.cluster.local"
SERVED = GatewayHost(addresses=("10.96.0.9",), is_served=True)


def wanted(host: GatewayHost | None = SERVED) -> WantedStatus:
    return gateway_status(a_gateway(), {HOST: host})


def times(patch: Any) -> set[str]:
    status = patch["status"]
    conditions = [*status["conditions"]]
    for listener in status.get("listeners", ()):
        conditions += listener["conditions"]
    return {each["lastTransitionTime"] for each in conditions}


@pytest.mark.proves("GS-3")
def test_a_status_is_written_as_one_object() -> None:
    patch = gateway_patch(WAYPOINT, wanted(), None, NOW)
    assert patch.keys() == {"apiVersion", "kind", "metadata", "status"}
    assert patch["metadata"] == {"name": "waypoint", "namespace": "shop"}
    assert patch["status"]["addresses"] == [
        {"type": "IPAddress", "value": "10.96.0.9"},
        {"type": "Hostname", "value": HOST},
    ]
    assert times(patch) == {"2026-03-01T12:00:00Z"}


@pytest.mark.proves("GS-4")
@pytest.mark.refutes("GS-4")
def test_times_stay_until_the_status_of_a_condition_changes() -> None:
    before = gateway_patch(WAYPOINT, wanted(), None, NOW)
    assert gateway_patch(WAYPOINT, wanted(), before, LATER) == before
    after = gateway_patch(WAYPOINT, wanted(None), before, LATER)
    moved = {
        each["type"]
        for each in after["status"]["conditions"]
        if each["lastTransitionTime"] == "2026-03-02T12:00:00Z"
    }
    assert moved == {"Programmed"}
    # Not usable, then not assigned: another reason, and as untrue as before.
    waiting = gateway_patch(WAYPOINT, wanted(replace(SERVED, is_served=False)), after, NOW)
    assert times(waiting) == times(after)


@pytest.mark.parametrize(
    "live",
    [
        {},
        {"status": None},
        {"status": []},
        {"status": {"conditions": None, "listeners": ["x"]}},
        {"status": {"conditions": [{"type": "Accepted"}, 3], "listeners": [{"name": "mesh"}]}},
    ],
)
def test_a_status_that_makes_no_sense_is_one_that_says_nothing(live: Any) -> None:
    assert gateway_patch(WAYPOINT, wanted(), live, NOW) == gateway_patch(
        WAYPOINT, wanted(), None, NOW
    )


def test_addresses_are_those_that_were_written_last() -> None:
    gateway = a_gateway()
    assert with_addresses_of(gateway, None) == gateway.status_addresses
    live = {"status": {"addresses": [{"type": "Hostname", "value": HOST}, {"value": "::1"}, 3]}}
    assert with_addresses_of(gateway, live) == (
        GatewayAddress("Hostname", HOST),
        GatewayAddress("", "::1"),
    )
    written = replace(wanted(None), addresses=with_addresses_of(gateway, live))
    patch = gateway_patch(WAYPOINT, written, live, NOW)
    assert patch["status"]["addresses"] == [{"type": "Hostname", "value": HOST}, {"value": "::1"}]


def test_a_class_is_told_one_thing() -> None:
    condition = class_condition(a_class("istio.io/mesh-controller"))
    assert condition is not None
    patch = class_patch("ours", condition, None, NOW)
    (told,) = patch["status"]["conditions"]
    assert (told["type"], told["status"], told["reason"]) == ("Accepted", "True", "Accepted")
    assert class_patch("ours", condition, patch, LATER) == patch
