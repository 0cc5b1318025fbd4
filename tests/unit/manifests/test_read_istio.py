"""ServiceEntry and WorkloadEntry."""

import pytest

from controlplane.manifests.istio import (
    AllocatedAddress,
    ServiceEntry,
    ServiceEntryPort,
    WorkloadEntry,
    WorkloadSpec,
)
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: networking.istio.io/v1\nkind: {}\nmetadata: {{name: a}}\n"


def test_a_service_entry_is_read() -> None:
    found = manifest_of(
        HEAD.format("ServiceEntry")
        + """
spec:
  hosts: [a.example.com]
  addresses: [10.0.0.0/24]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, targetPort: 8443}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 1.1.1.1, ports: {http: 8080}, weight: 2, locality: r/z}]
  subjectAltNames: [x]
status: {addresses: [{value: 240.240.0.1, host: a.example.com}]}
"""
    )
    assert isinstance(found, ServiceEntry)
    assert found.ports == (
        ServiceEntryPort(80, "http", "HTTP"),
        ServiceEntryPort(443, "", "", 8443),
    )
    assert found.endpoints == (
        WorkloadSpec(address="1.1.1.1", ports={"http": 8080}, weight=2, locality="r/z"),
    )
    assert (found.location, found.resolution) == ("MESH_INTERNAL", "STATIC")
    assert found.status_addresses == (AllocatedAddress("240.240.0.1", "a.example.com"),)


def test_the_workload_selector_may_be_absent_or_empty() -> None:
    for written, expected in (("{}", None), ("{workloadSelector: {}}", {}),
                              ("{workloadSelector: {labels: {a: b}}}", {"a": "b"})):  # fmt: skip
        found = manifest_of(HEAD.format("ServiceEntry") + f"spec: {written}\n")
        assert isinstance(found, ServiceEntry)
        assert found.workload_selector == expected


@pytest.mark.proves("MF-13")
def test_a_misspelt_workload_selector_is_refused() -> None:
    text = HEAD.format("ServiceEntry") + "spec: {workloadSelector: {matchLabels: {a: b}}}\n"
    assert problem_of(text).field == "spec.workloadSelector.matchLabels"


def test_a_workload_entry_is_read() -> None:
    found = manifest_of(
        HEAD.format("WorkloadEntry")
        + "spec: {address: vm.local, serviceAccount: sa, network: n2}\n"
    )
    assert isinstance(found, WorkloadEntry)
    assert found.spec == WorkloadSpec(address="vm.local", service_account="sa", network="n2")


@pytest.mark.proves("MF-15")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{resolution: dns}", "spec.resolution"),
        ("{location: INSIDE}", "spec.location"),
        ("{endpoints: [{weight: -1}]}", "spec.endpoints[0].weight"),
        ("{endpoints: [{ports: {a: 80, http: x}}]}", "spec.endpoints[0].ports.http"),
        ("{ports: [{number: 0}]}", "spec.ports[0].number"),
    ],
)
def test_impossible_service_entries_are_refused(spec: str, field: str) -> None:
    assert problem_of(HEAD.format("ServiceEntry") + f"spec: {spec}\n").field == field
