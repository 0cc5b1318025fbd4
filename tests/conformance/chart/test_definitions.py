"""The definitions of the chart: what an API server takes for one, and loses nothing by."""

from collections.abc import Iterator
from typing import Any

from controlplane.manifests.decoding import KINDS
from tests.support.chart import of_kind


def test_definitions_keep_what_they_do_not_know_and_stay() -> None:
    definitions = of_kind("crds", "CustomResourceDefinition")
    assert {each["metadata"]["name"] for each in definitions} == {
        "authorizationpolicies.security.istio.io",
        "peerauthentications.security.istio.io",
        "requestauthentications.security.istio.io",
        "serviceentries.networking.istio.io",
        "workloadentries.networking.istio.io",
    }
    for each in definitions:
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        spec = each["spec"]
        served = tuple(version["name"] for version in spec["versions"])
        assert set(served) >= set(KINDS[spec["group"], spec["names"]["kind"]].versions)
        assert [version["storage"] for version in spec["versions"]].count(True) == 1
        for version in spec["versions"]:
            assert version["subresources"] == {"status": {}}
            parts = version["schema"]["openAPIV3Schema"]["properties"]
            conditions = parts["status"]["properties"]["conditions"]
            assert parts["spec"]["x-kubernetes-preserve-unknown-fields"] is True
            assert conditions["x-kubernetes-list-type"] == "map"
            assert conditions["x-kubernetes-list-map-keys"] == ["type"]
            assert conditions["items"]["required"] == ["type"]


def structural_faults(schema: Any, path: str = "") -> Iterator[str]:
    """Yield where a schema is none that an API server takes for a custom resource."""
    if not schema.get("type") and not schema.get("x-kubernetes-int-or-string"):
        yield path
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path} has both"
    for name, below in schema.get("properties", {}).items():
        yield from structural_faults(below, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from structural_faults(schema[name], f"{path}.{name}")
    if schema.get("type") == "array" and "items" not in schema:
        yield f"{path} has no items"


def test_schemas_of_definitions_are_structural() -> None:
    for each in of_kind("crds", "CustomResourceDefinition"):
        for version in each["spec"]["versions"]:
            assert list(structural_faults(version["schema"]["openAPIV3Schema"])) == []
