"""VirtualService and DestinationRule: what they are for, and nothing of what they do."""

import pytest

from controlplane.manifests.traffic_rules import DestinationRule, VirtualService
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: networking.istio.io/{}\nkind: {}\nmetadata: {{name: a}}\n"
VERSIONS = ("v1", "v1beta1", "v1alpha3")


@pytest.mark.proves("MF-3")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_virtual_service_is_read_in_every_version(version: str) -> None:
    found = manifest_of(
        HEAD.format(version, "VirtualService")
        + """
spec:
  hosts: [reviews, "*.example.com"]
  gateways: [mesh, istio-system/ingress]
  exportTo: ["."]
  http: [{route: [{destination: {host: reviews, subset: v2}}], whatever: [1]}]
"""
    )
    assert isinstance(found, VirtualService)
    assert found.hosts == ("reviews", "*.example.com")
    assert found.gateways == ("mesh", "istio-system/ingress")
    assert found.visible_in == (".",)


@pytest.mark.proves("MF-3")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_destination_rule_is_read_in_every_version(version: str) -> None:
    found = manifest_of(
        HEAD.format(version, "DestinationRule")
        + """
spec:
  host: reviews
  exportTo: ["*"]
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy: {loadBalancer: {simple: [not, even, right]}}
"""
    )
    assert isinstance(found, DestinationRule)
    assert (found.host, found.visible_in) == ("reviews", ("*",))
    assert found.workload_selector == {"app": "client"}


def test_nothing_of_either_has_to_be_there() -> None:
    found = manifest_of(HEAD.format("v1", "VirtualService"))
    assert isinstance(found, VirtualService)
    assert (found.hosts, found.gateways, found.visible_in) == ((), (), ())
    for written in ("", "spec: {workloadSelector: null}\n", "spec: {workloadSelector: {}}\n"):
        rule = manifest_of(HEAD.format("v1", "DestinationRule") + written)
        assert isinstance(rule, DestinationRule)
        assert (rule.host, rule.workload_selector) == ("", {})


@pytest.mark.proves("MF-12")
def test_what_they_are_for_has_to_be_text() -> None:
    text = HEAD.format("v1", "VirtualService") + "spec: {hosts: [1]}\n"
    assert problem_of(text).field == "spec.hosts[0]"
    text = HEAD.format("v1", "DestinationRule") + "spec: {host: [a]}\n"
    assert problem_of(text).field == "spec.host"
