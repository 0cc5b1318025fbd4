from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.cluster.apply import Target
from controlplane.controllers.status_conditions import (
    MANAGERS,
    has_news,
    status_to_apply,
)
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOUND = "istio.io/WaypointBound"
MANAGER = MANAGERS["Service"][BOUND]


def owned(fields: Any, **entry: Any) -> dict[str, Any]:
    entry = {"manager": MANAGER, "operation": "Apply", **entry}
    return {
        "metadata": {"name": "a", "managedFields": [{**entry, "fieldsV1": fields}]},
        "status": {"conditions": [{"type": BOUND, "status": "True"}]},
    }


@pytest.mark.parametrize(
    ("live", "is_ours"),
    [
        (owned({"f:status": {"f:conditions": {'k:{"type":"istio.io/WaypointBound"}': {}}}}), True),
        (owned({"f:status": {"f:conditions": {}}}), True),
        (owned({"f:status": {"f:conditions": {".": {}}}}), True),
        (owned({"f:status": {"f:conditions": {'k:{"type":"Other"}': {}}}}), False),
        (owned({"f:status": {"f:conditions": {"k:nonsense": {}}}}), False),
        (owned({"f:status": {"f:addresses": {}}}), False),
        (owned({"f:status": {"f:conditions": {}}}, manager="somebody"), False),
        (owned({"f:status": {"f:conditions": {}}}, operation="Update"), False),
        (owned(None), False),
        ({"metadata": {"name": "a"}, "status": {"conditions": [{"type": BOUND}]}}, False),
    ],
)
@pytest.mark.proves("SS-5")
@pytest.mark.refutes("SS-5")
def test_what_may_be_removed_is_what_the_manager_has_set(
    live: dict[str, Any], *, is_ours: bool
) -> None:
    assert has_news(live, {}, [BOUND], MANAGER) is is_ours
    assert not has_news(live, {}, ["istio.io/VisibilityApplied"], MANAGER)


@pytest.mark.parametrize("status", ["text", {"conditions": {}}, {"conditions": [3]}])
def test_a_status_of_another_shape_says_nothing(status: Any) -> None:
    live = {"metadata": {"name": "a"}, "status": status}
    reference = ObjectReference("GatewayClass", "", "a")
    told = Condition(object=reference, type="T", status=True, reason="R", message="", manager="m")
    assert has_news(live, {"T": told}, ["T"], "m")
    target = Target(api_version="g/v1", plural="gatewayclasses", name="a")
    assert status_to_apply(target, "GatewayClass", live, [told], NOW) == {
        "apiVersion": "g/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "a"},
        "status": {
            "conditions": [
                {
                    "type": "T",
                    "status": "True",
                    "reason": "R",
                    "message": "",
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                }
            ]
        },
    }
