import json
from typing import Any

import pytest

from controlplane.manifests.core import Pod
from controlplane.manifests.decoding import KINDS, decode_any_object, decode_object
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.reading import read_object
from controlplane.model.problem import Problem

POD = KINDS["", "Pod"]
POLICY = KINDS["security.istio.io", "AuthorizationPolicy"]
DOCUMENT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "a",
        "namespace": "n",
        "labels": {"app": "a"},
        "resourceVersion": "5",
        "managedFields": [{"manager": "m"}],
    },
    "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}


def test_bytes_and_plain_objects_read_alike() -> None:
    assert decode_object(POD, json.dumps(DOCUMENT).encode()) == read_object(DOCUMENT)


def test_an_item_of_a_list_needs_no_kind() -> None:
    item = {name: part for name, part in DOCUMENT.items() if name not in ("kind", "apiVersion")}
    found = decode_object(POD, json.dumps(item).encode())
    assert isinstance(found, Pod)
    assert found == read_object(DOCUMENT)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"name": "a", "labels": {"app": 1}}},
        {"metadata": {"name": "A_B"}},
        {"metadata": {}},
        {"spec": {"containers": [{"ports": [{"containerPort": 70000}]}]}},
    ],
)
def test_a_refusal_names_the_same_field(change: dict[str, Any]) -> None:
    document = {**DOCUMENT, **change}
    found = decode_object(POD, json.dumps(document).encode())
    assert isinstance(found, Problem)
    assert found == read_object(document)


def test_a_policy_with_a_field_nobody_knows_is_refused() -> None:
    found = decode_object(POLICY, b'{"metadata":{"name":"p"},"spec":{"acton":"DENY"}}')
    assert isinstance(found, Problem)
    assert found.field == "spec.acton"
    assert str(found.object) == "AuthorizationPolicy default/p"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'{"kind":"Job"}'])
def test_what_is_no_object_is_a_problem(text: bytes) -> None:
    assert isinstance(decode_object(POD, text), Problem)


def test_the_mesh_configuration_is_read_from_its_config_map() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "mesh"},
        "data": {"mesh": "trustDomain: td1"},
    }
    text = json.dumps(document).encode()
    found = decode_any_object(text, system_namespace="mesh")
    assert found == MeshConfig(trust_domain="td1")
    assert decode_any_object(text) is None
