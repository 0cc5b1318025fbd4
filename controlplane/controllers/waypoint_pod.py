"""The Deployment of a waypoint: names, settings and the proxy's files in, a plain dict out.

One container of stock Envoy that runs as nobody, writes nowhere and has no rights in the cluster
but a token for discovery. Source: docs/protocol/waypoint-deployment.md WO-12 to WO-17.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from controlplane.controllers.waypoint_identity import WaypointIdentity
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.encode.bootstrap import (
    BOOTSTRAP_FILE,
    METRICS_PATH,
    METRICS_PORT,
    READY_PATH,
    STATUS_PORT,
)

CONTAINER: Final = "istio-proxy"
DIRECTORY: Final = "/etc/waypoint"
ROOT_DIRECTORY: Final = "/var/run/secrets/istio"
TOKEN_DIRECTORY: Final = "/var/run/secrets/tokens"  # noqa: S105 - a directory
BOOTSTRAP_DIGEST: Final = "istiod-lite/bootstrap-digest"

_NOBODY: Final = 1337
_TOKEN_SECONDS: Final = 43_200
_CONNECTION_DRAIN_SECONDS: Final = 45
# The kubelet counts the drain in; what is left is for Envoy to end.
_GRACE_SECONDS: Final = 10


def waypoint_deployment(
    identity: WaypointIdentity, settings: WaypointSettings, files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the Deployment; it says nothing about replicas, which others may decide."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": identity.metadata(identity.workload),
        "spec": {
            "selector": {"matchLabels": identity.selector},
            "template": {
                "metadata": {
                    "labels": _pod_labels(identity),
                    "annotations": _pod_annotations(identity, settings, files),
                },
                "spec": _pod(identity, settings),
            },
        },
    }


def _pod_labels(identity: WaypointIdentity) -> dict[str, str]:
    return {
        "service.istio.io/canonical-name": identity.workload,
        "service.istio.io/canonical-revision": "latest",
        **identity.labels,
        **identity.own_labels,
        # A waypoint is neither captured nor injected, whatever its Gateway is labelled.
        "istio.io/dataplane-mode": "none",
        "sidecar.istio.io/inject": "false",
    }


def _pod_annotations(
    identity: WaypointIdentity, settings: WaypointSettings, files: Mapping[str, str]
) -> dict[str, str]:
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return {
        "prometheus.io/path": METRICS_PATH,
        "prometheus.io/port": str(METRICS_PORT),
        "prometheus.io/scrape": "true",
        **identity.annotations,
        "istio.io/rev": settings.revision or "default",
        # A running Envoy does not read its bootstrap again: another one needs other pods.
        BOOTSTRAP_DIGEST: digest.hexdigest()[:16],
    }


def _pod(identity: WaypointIdentity, settings: WaypointSettings) -> dict[str, Any]:
    return {
        "serviceAccountName": identity.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": settings.drain_seconds + _GRACE_SECONDS,
        "containers": [_container(identity, settings)],
        "volumes": [
            {"name": "bootstrap", "configMap": {"name": identity.bootstrap}},
            {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
            {
                "name": "istio-token",
                "projected": {
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "audience": "istio-ca",
                                "expirationSeconds": _TOKEN_SECONDS,
                                "path": "istio-token",
                            }
                        }
                    ]
                },
            },
        ],
    }


def _container(identity: WaypointIdentity, settings: WaypointSettings) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image,
        "args": _arguments(identity, settings),
        "env": [
            _field("INSTANCE_IP", "status.podIP"),
            _field("POD_NAME", "metadata.name"),
            _field("POD_NAMESPACE", "metadata.namespace"),
            {
                "name": "CPU_LIMIT",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}},
            },
        ],
        "ports": [
            {"name": "hbone", "containerPort": 15008, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            {"name": "status-port", "containerPort": STATUS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": {
            **_probe(),
            "initialDelaySeconds": 1,
            "periodSeconds": 1,
            "failureThreshold": 30,
        },
        "readinessProbe": {**_probe(), "periodSeconds": 15, "failureThreshold": 4},
        "resources": {
            "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request},
            "limits": {"cpu": settings.cpu_limit, "memory": settings.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": _NOBODY,
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
        },
        "volumeMounts": [
            {"name": "bootstrap", "mountPath": DIRECTORY, "readOnly": True},
            {"name": "istiod-ca-cert", "mountPath": ROOT_DIRECTORY, "readOnly": True},
            {"name": "istio-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        ],
    }
    if settings.drain_seconds:
        # Envoy stops at once when it is told to; node proxies need time to hear of it first.
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": settings.drain_seconds}}}
    return container


def _arguments(identity: WaypointIdentity, settings: WaypointSettings) -> list[str]:
    """Return the arguments; the image's own entry point puts ``envoy`` in front."""
    node = "waypoint~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc."
    return [
        *("-c", f"{DIRECTORY}/{BOOTSTRAP_FILE}"),
        *("--service-node", node + settings.domain_suffix),
        *("--service-cluster", f"{identity.service_account}.$(POD_NAMESPACE)"),
        *("--concurrency", "$(CPU_LIMIT)"),
        *("--drain-time-s", str(_CONNECTION_DRAIN_SECONDS)),
        *("--drain-strategy", "immediate"),
        # Log lines are read within the second; Envoy itself would keep them for ten.
        *("--file-flush-interval-msec", "1000"),
        # It needs shared memory, and nothing here restarts a proxy in place.
        "--disable-hot-restart",
    ]


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _probe() -> dict[str, Any]:
    return {"httpGet": {"path": READY_PATH, "port": STATUS_PORT}, "timeoutSeconds": 1}
