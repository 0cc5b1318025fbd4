"""An object and a partial one laid over it."""

from copy import deepcopy
from typing import Any

import pytest

from controlplane.controllers.errors import OverlayError
from controlplane.controllers.strategic_merge import strategic_merge


def a_deployment(**pod: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "spec": {"template": {"spec": pod}}}


def merged_pod(pod: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    value, laid = a_deployment(**pod), {"spec": {"template": {"spec": patch}}}
    before = deepcopy((value, laid))
    found: dict[str, Any] = strategic_merge(value, laid)["spec"]["template"]["spec"]
    assert (value, laid) == before
    return found


@pytest.mark.proves("WO-22")
def test_maps_are_merged_and_null_removes() -> None:
    assert merged_pod({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": None, "z": 3}, "b": 2}) == {
        "a": {"x": 1, "z": 3},
        "b": 2,
    }


@pytest.mark.refutes("WO-22")
def test_false_zero_and_empty_remove_nothing() -> None:
    laid = {"a": False, "b": 0, "c": "", "d": {}}
    assert merged_pod({"a": True, "b": 1, "c": "x", "d": {"e": 1}}, laid) == {
        **laid,
        "d": {"e": 1},
    }


@pytest.mark.proves("WO-23")
def test_items_are_found_by_their_key() -> None:
    containers = [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]
    patch = [{"name": "b", "image": "i"}, {"name": "c"}, {"name": "a", "env": [{"name": "Y"}]}]
    assert merged_pod({"containers": containers}, {"containers": patch}) == {
        "containers": [
            {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y"}]},
            {"name": "b", "image": "i"},
            {"name": "c"},
        ]
    }


@pytest.mark.refutes("WO-23")
def test_lists_without_a_key_are_replaced() -> None:
    pod = {"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["x", "y"]}]}
    patch = {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}
    assert merged_pod(pod, patch) == patch


@pytest.mark.proves("WO-24")
def test_directives_delete_and_replace() -> None:
    pod = {"volumes": [{"name": "a"}, {"name": "b"}], "securityContext": {"runAsUser": 1}}
    assert merged_pod(
        pod,
        {
            "volumes": [{"name": "a", "$patch": "delete"}, {"name": "z", "$patch": "delete"}],
            "securityContext": {"$patch": "replace", "runAsGroup": 2},
        },
    ) == {"volumes": [{"name": "b"}], "securityContext": {"runAsGroup": 2}}
    replaced = merged_pod(pod, {"volumes": [{"$patch": "replace"}, {"name": "c"}]})
    assert replaced["volumes"] == [{"name": "c"}]
    emptied = merged_pod(pod, {"securityContext": {"$patch": "delete"}})
    assert emptied["securityContext"] == {}


@pytest.mark.refutes("WO-24")
@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"$retainKeys": ["a"]}, '["$retainKeys"]'),
        ({"$patch": "remove"}, '["$patch"]'),
        ({"$setElementOrder/volumes": []}, '["$setElementOrder/volumes"]'),
        ({"volumes": [{"name": "a", "$patch": "x"}]}, 'volumes[0]["$patch"]'),
        ({"tolerations": [{"$patch": "replace"}]}, "tolerations[0]"),
    ],
)
def test_other_directives_are_refused(patch: dict[str, Any], field: str) -> None:
    with pytest.raises(OverlayError) as refused:
        merged_pod({"volumes": [{"name": "a"}]}, patch)
    assert refused.value.field.endswith(field)


def test_ports_of_a_service_are_found_by_number() -> None:
    service = {"kind": "Service", "spec": {"ports": [{"port": 1, "name": "a"}]}}
    patch = {"spec": {"ports": [{"port": 1, "name": "b"}, {"port": 2}]}}
    assert strategic_merge(service, patch)["spec"]["ports"] == [
        {"port": 1, "name": "b"},
        {"port": 2},
    ]
