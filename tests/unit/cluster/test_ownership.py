from typing import Any

import pytest

from controlplane.cluster.ownership import is_applied

MANAGER = "istiod-lite-waypoints"

# As an API server stores it: others' fields, defaults and its own among ours.
LIVE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "waypoint",
        "namespace": "shop",
        "uid": "1",
        "resourceVersion": "7",
        "labels": {"app": "waypoint", "team": "blue"},
        "finalizers": ["a", "b"],
        "managedFields": [
            {
                "manager": MANAGER,
                "operation": "Apply",
                "fieldsV1": {
                    "f:metadata": {
                        "f:labels": {"f:app": {}},
                        "f:finalizers": {'v:"a"': {}},
                    },
                    "f:spec": {
                        "f:selector": {},
                        "f:ports": {
                            'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}
                        },
                    },
                },
            },
            {
                "manager": MANAGER,
                "operation": "Apply",
                "subresource": "status",
                "fieldsV1": {
                    "f:status": {
                        "f:conditions": {
                            'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}}
                        }
                    }
                },
            },
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:type": {}}}},
        ],
    },
    "spec": {
        "type": "ClusterIP",
        "selector": {"gateway": "waypoint"},
        "ports": [
            {"name": "mesh", "port": 80, "protocol": "TCP", "targetPort": 80},
            {"name": "other", "port": 81, "protocol": "TCP", "targetPort": 81},
        ],
    },
    "status": {
        "conditions": [
            {"type": "Other", "status": "False"},
            {"type": "Ready", "status": "True", "observedGeneration": 3},
        ]
    },
}
CONDITION = {"type": "Ready", "status": "True"}


def wanted(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "waypoint",
            "namespace": "shop",
            "labels": {"app": "waypoint"},
            "finalizers": ["a"],
        },
        "spec": {
            "selector": {"gateway": "waypoint"},
            "ports": [{"name": "mesh", "port": 80}],
            **spec,
        },
    }


def status(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "waypoint"}, "status": {"conditions": list(conditions)}}


@pytest.mark.proves("WR-1")
def test_an_object_that_is_as_wanted_is_applied() -> None:
    assert is_applied(LIVE, wanted(), manager=MANAGER)
    assert is_applied(LIVE, status(CONDITION), manager=MANAGER, subresource="status")


@pytest.mark.refutes("WR-1")
@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"gateway": "other"}},
        {"selector": {"gateway": "waypoint", "more": "x"}},
        {"selector": {}},
        {"ports": [{"name": "new", "port": 80}]},
        {"ports": [{"name": "mesh", "port": 80, "protocol": "UDP"}]},
        {"ports": [{"name": "mesh", "port": 80}, {"name": "other", "port": 81}]},
        {"ports": "text"},
        {"type": "ClusterIP"},
    ],
)
def test_a_value_or_field_more_is_a_difference(spec: dict[str, Any]) -> None:
    assert not is_applied(LIVE, wanted(**spec), manager=MANAGER)


@pytest.mark.proves("WR-2")
def test_a_field_of_ours_that_is_not_wanted_any_more_is_a_difference() -> None:
    for change in ({"labels": {}}, {"labels": {"app": "waypoint"}}, {}):
        without = {**wanted(), "metadata": {"name": "waypoint", **change}}
        assert not is_applied(LIVE, without, manager=MANAGER)
    without = wanted()
    without["spec"] = {"selector": {"gateway": "waypoint"}}
    assert not is_applied(LIVE, without, manager=MANAGER)
    assert not is_applied(LIVE, status(), manager=MANAGER, subresource="status")


@pytest.mark.refutes("WR-2")
def test_fields_of_others_are_no_difference() -> None:
    changed = {**LIVE, "spec": {**LIVE["spec"], "type": "LoadBalancer"}}
    assert is_applied(changed, wanted(), manager=MANAGER)
    more = {"type": "More", "status": "True"}
    changed = {**LIVE, "status": {"conditions": [*LIVE["status"]["conditions"], more]}}
    assert is_applied(changed, status(CONDITION), manager=MANAGER, subresource="status")


def test_what_another_manager_applied_is_not_ours() -> None:
    assert not is_applied(LIVE, wanted(), manager="kubectl")
    assert not is_applied(LIVE, wanted(), manager=MANAGER, subresource="scale")
    assert not is_applied({}, wanted(), manager=MANAGER)


@pytest.mark.parametrize("part", ["k:{", "k:5", "i:0", "f:x", 'v:"c"'])
def test_parts_of_a_list_that_are_not_understood_are_a_difference(part: str) -> None:
    live = {"list": ["a"], "metadata": {"managedFields": [_entry({"f:list": {part: {}}})]}}
    assert not is_applied(live, {"list": ["a"]}, manager=MANAGER)


def _entry(fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}
