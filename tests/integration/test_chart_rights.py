"""A process with exactly the rights of the chart: each request is granted, each right is used."""

import socket
from pathlib import Path

import pytest

from tests.support.chart import NAMESPACE, documents, environment, only
from tests.support.kubernetes_access import grants_of, not_granted, unused
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put, put_document
from tests.support.replicas import a_certificate, cluster_settings, fill, running, until

WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: scaled}}
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""
RENAMED = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
  namespace: shop
  annotations: {gateway.istio.io/name-override: other}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""
MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: scaled, namespace: shop}
data:
  horizontalPodAutoscaler: "spec: {maxReplicas: 4}"
  podDisruptionBudget: "spec: {minAvailable: 1}"
---
apiVersion: v1
kind: Service
metadata: {name: bound, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.96.7.7, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {address: 10.9.9.9}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: shop}
spec: {action: ALLOW, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bound, namespace: shop}
spec: {hosts: [bound]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bound, namespace: shop}
spec: {host: bound}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bound, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: bound}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: bound, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: bound}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: bound, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: bound}], rules: []}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {name: bound, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: bound}]
  hostnames: [bound.shop.svc.cluster.local]
  rules: []
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: bound, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: bound}]
  validation: {hostname: bound.example, wellKnownCACertificates: System}
"""
MADE = {
    "serviceaccounts": "waypoint",
    "configmaps": "waypoint-bootstrap",
    "deployments": "waypoint",
    "services": "waypoint",
    "horizontalpodautoscalers": "waypoint",
    "poddisruptionbudgets": "waypoint",
}


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.timeout(90)
async def test_every_request_is_granted_and_every_right_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = environment("default")
    for name, value in installed.items():
        if not value.startswith("{"):
            monkeypatch.setenv(name, value)
    account = f"{NAMESPACE}/{installed['ISTIOD_LITE_CONTROL_PLANE_ACCOUNT']}"
    grants = grants_of(documents("default"), account)
    async with KubernetesApi(grants=grants) as api:
        api.objects.define_all()
        fill(api)
        put_document(api.objects, only("default", "ValidatingWebhookConfiguration"))
        put(api.objects, f"{MESH}---{WAYPOINT}")
        port = a_free_port()
        settings = cluster_settings(
            tmp_path,
            api,
            respects_istiod=True,
            webhook_port=port,
            webhook_address=f"127.0.0.1:{port}",
        )
        async with running(settings) as process:
            await a_certificate(process)
            made = [(plural, ("shop", name)) for plural, name in MADE.items()]
            await until(lambda: all(api.objects.get(*each) for each in made), 30)
            put(api.objects, RENAMED)
            await until(lambda: not any(api.objects.get(*each) for each in made), 30)
            await until(lambda: not unused(grants, api.checked), 30)
        assert unused(grants, api.checked) == []
        assert not_granted(grants, api.checked) == []
