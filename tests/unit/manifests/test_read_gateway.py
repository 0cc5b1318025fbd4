"""Gateway API kinds."""

import pytest

from controlplane.manifests.gateway import (
    AllowedNamespaces,
    Gateway,
    GatewayAddress,
    GatewayClass,
    Infrastructure,
    Listener,
    ParametersReference,
)
from controlplane.model.labels import LabelSelector, Requirement
from tests.unit.manifests.test_reading import manifest_of, problem_of

HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: {}\nmetadata: {{name: a}}\n"


def test_a_gateway_is_read() -> None:
    found = manifest_of(
        HEAD.format("Gateway")
        + """
spec:
  gatewayClassName: istio-waypoint
  addresses: [{value: 10.0.0.1}]
  listeners:
  - {name: mesh, port: 15008, protocol: HBONE}
  - name: other
    port: 443
    protocol: TLS
    tls: {mode: Terminate}
    allowedRoutes:
      namespaces:
        from: Selector
        selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [d]}]}
status:
  addresses: [{type: Hostname, value: a.b.c}]
"""
    )
    assert isinstance(found, Gateway)
    assert found.class_name == "istio-waypoint"
    selector = LabelSelector(
        labels=(("a", "b"),), requirements=(Requirement(key="c", operator="In", values=("d",)),)
    )
    assert found.listeners == (
        Listener("mesh", 15008, "HBONE"),
        Listener("other", 443, "TLS", AllowedNamespaces("Selector", selector), "Terminate"),
    )
    assert found.addresses == (GatewayAddress("", "10.0.0.1"),)
    assert found.status_addresses == (GatewayAddress("Hostname", "a.b.c"),)


def test_the_infrastructure_of_a_gateway_is_read() -> None:
    found = manifest_of(
        HEAD.format("Gateway")
        + """
spec:
  gatewayClassName: istio-waypoint
  infrastructure:
    labels: {}
    parametersRef: {group: "", kind: ConfigMap, name: options}
"""
    )
    assert isinstance(found, Gateway)
    reference = ParametersReference("", "ConfigMap", "options")
    assert found.infrastructure == Infrastructure({}, None, reference)
    without = manifest_of(HEAD.format("Gateway") + "spec: {gatewayClassName: istio-waypoint}\n")
    assert isinstance(without, Gateway)
    assert without.infrastructure is None


@pytest.mark.proves("MF-13", "MF-15")
@pytest.mark.parametrize(
    ("selector", "field"),
    [
        ("{matchLabel: {a: b}}", "matchLabel"),
        ("{matchExpressions: [{key: a, operator: in}]}", "matchExpressions[0].operator"),
        ("{matchExpressions: [{key: a, operator: In}]}", "matchExpressions[0].values"),
        ("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
         "matchExpressions[0].values"),
    ],
)  # fmt: skip
def test_selectors_that_cannot_be_judged_are_refused(selector: str, field: str) -> None:
    problem = problem_of(
        HEAD.format("Gateway") + "spec: {listeners: [{name: m, port: 1, protocol: HBONE, "
        f"allowedRoutes: {{namespaces: {{from: Selector, selector: {selector}}}}}}}]}}\n"
    )
    assert problem.field == f"spec.listeners[0].allowedRoutes.namespaces.selector.{field}"


def test_gateway_classes_are_read() -> None:
    found = manifest_of(
        HEAD.format("GatewayClass") + "spec: {controllerName: istio.io/mesh-controller}\n"
    )
    assert isinstance(found, GatewayClass)
    assert (found.controller_name, found.key.namespace) == ("istio.io/mesh-controller", "")
