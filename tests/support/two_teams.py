"""Two namespaces with the same things in them, so that nothing of one may turn up for the other."""

from datetime import UTC, datetime, timedelta

from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from tests.support.admin import AdminRig

OWN = "alpha"
OTHER = "zulu"
"""A word that is in every name of the other namespace, and in no other text."""

_SHARED = """
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
"""
_TEAM = """
apiVersion: v1
kind: Namespace
metadata:
  name: TEAM
  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: TEAM-waypoint}
---
apiVersion: v1
kind: Service
metadata: {name: TEAM-shop, namespace: TEAM}
spec:
  clusterIP: 10.0.NUMBER.1
  selector: {app: TEAM-shop}
  ports: [{port: 80, name: http, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata:
  name: TEAM-shop-1
  namespace: TEAM
  uid: uid-TEAM
  labels: {app: TEAM-shop}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {nodeName: node-TEAM, serviceAccountName: TEAM-shop}
status:
  phase: Running
  podIP: 10.1.NUMBER.1
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: v1
kind: Pod
metadata:
  name: TEAM-waypoint-1
  namespace: TEAM
  labels: {gateway.networking.k8s.io/gateway-name: TEAM-waypoint}
spec: {nodeName: node-TEAM, serviceAccountName: TEAM-waypoint}
status:
  phase: Running
  podIP: 10.1.NUMBER.2
  conditions: [{type: Ready, status: "True"}]
---
apiVersion: v1
kind: Service
metadata:
  name: TEAM-waypoint
  namespace: TEAM
spec:
  clusterIP: 10.0.NUMBER.2
  selector: {gateway.networking.k8s.io/gateway-name: TEAM-waypoint}
  ports: [{port: 15008, name: mesh}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: TEAM-waypoint
  namespace: TEAM
  labels: {istio.io/waypoint-for: all}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
status:
  addresses: [{type: Hostname, value: TEAM-waypoint.TEAM.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: TEAM-outside, namespace: TEAM}
spec:
  hosts: [TEAM.example.com]
  addresses: [10.2.NUMBER.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 10.3.NUMBER.1}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: TEAM-callers, namespace: TEAM}
spec:
  selector: {matchLabels: {app: TEAM-shop}}
  rules: [{from: [{source: {principals: [cluster.local/ns/TEAM/sa/TEAM-shop]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: TEAM-everybody, namespace: TEAM}
spec:
  action: DENY
  rules: [{from: [{source: {ipBlocks: [not-TEAM]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: TEAM-strict, namespace: TEAM}
spec: {mtls: {mode: STRICT}}
---
apiVersion: v1
kind: Service
metadata: {name: TEAM-wrong, namespace: TEAM}
spec: {clusterIP: 10.0.NUMBER.999, selector: [TEAM]}
---
apiVersion: v1
kind: Service
metadata: {name: TEAM-bad-ip, namespace: TEAM}
spec: {clusterIP: 10.0.NUMBER.999, ports: [{port: 80}]}
"""


def two_teams() -> AdminRig:
    """Return a mesh of two namespaces with clients, problems and certificates in both."""
    rig = AdminRig()
    rig.apply_text(_SHARED, "shared.yaml")
    for number, team in enumerate((OWN, OTHER), start=1):
        text = _TEAM.replace("TEAM", team).replace("NUMBER", str(number))
        rig.apply_text(text, f"{team}.yaml")
        rig.ledger.add(_issued(team, number), _refused(team), _refused(OTHER, asks_for=team))
    for team in (OWN, OTHER):
        rig.connect(f"node-{team}", namespace=team, identity=f"{team}/{team}-waypoint")
    rig.connect(f"node-{OTHER}", identity="istio-system/ztunnel")
    return rig


def _issued(team: str, number: int) -> IssuedCertificate:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return IssuedCertificate(
        authority_id="a" * 40,
        serial=f"{number:02x}",
        spiffe_id=f"spiffe://cluster.local/ns/{team}/sa/{team}-shop",
        not_before=at,
        not_after=at + timedelta(days=1),
        issued_at=at,
        spki_sha256="b" * 64,
        csr_sha256="c" * 64,
        certificate_sha256="d" * 64,
        key_type="P-256",
        impersonated=True,
        caller_id=f"spiffe://cluster.local/ns/{OTHER}/sa/{OTHER}-proxy",
        caller_pod=f"{OTHER}/proxy-1",
        node=f"node-{OTHER}",
    )


def _refused(team: str, *, asks_for: str = "") -> RefusedRequest:
    asked = asks_for or team
    return RefusedRequest(
        refused_at=datetime(2026, 1, 1, tzinfo=UTC),
        status="PERMISSION_DENIED",
        reason="not-on-node",
        caller_id=f"spiffe://cluster.local/ns/{team}/sa/{team}-proxy",
        node=f"node-{team}",
        requested_id=f"spiffe://cluster.local/ns/{asked}/sa/{asked}-shop",
    )
