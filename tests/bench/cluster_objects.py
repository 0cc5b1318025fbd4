"""The large mesh of ``mesh`` as an API server tells it: JSON objects of realistic size, as bytes.

A pod is about 9 kB, as in clusters with injected volumes, probes and three field managers. Objects
are made when they are asked for, so that whoever serves a hundred thousand pods holds none.
"""

import json
from collections.abc import Iterator
from typing import Any

from tests.bench.mesh import Sizes, a_policy, a_service

POD_BYTES = 9_000
_MARKS = ("name", "namespace", "app", "template", "uid", "revision", "node", "ip", "ready", "beat")


def pod(sizes: Sizes, number: int, *, revision: int, ready: bool = True, beat: int = 0) -> bytes:
    """Return pod ``number``; ``beat`` changes what no rule reads."""
    deployment = number // sizes.replicas
    app, template = f"app-{deployment}", _hash_of(deployment)
    values = {
        "name": name_of(sizes, number),
        "namespace": f"team-{deployment % sizes.namespaces}",
        "app": app,
        "template": template,
        "uid": f"{number:08x}-0000-4000-8000-{number:012x}",
        "revision": revision,
        "node": f"node-{number % sizes.nodes}",
        "ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "ready": "True" if ready else "False",
        "beat": f"{beat:06d}",
    }
    return (_POD % values).encode()


def name_of(sizes: Sizes, number: int) -> str:
    """Return the name of pod ``number``, unlike that of any other."""
    deployment = number // sizes.replicas
    return f"app-{deployment}-{_hash_of(deployment)}-{number % sizes.replicas:05x}"


def _hash_of(deployment: int) -> str:
    return f"{deployment * 2654435761 % 2**32:08x}"


def namespaces(sizes: Sizes) -> Iterator[bytes]:
    for number in range(sizes.namespaces):
        labels = {"istio.io/dataplane-mode": "ambient"}
        yield _object(f"team-{number}", "", labels=labels)


def nodes(sizes: Sizes) -> Iterator[bytes]:
    for number in range(sizes.nodes):
        zone = f"north-{number % 3}"
        labels = {"topology.kubernetes.io/region": "north", "topology.kubernetes.io/zone": zone}
        yield _object(f"node-{number}", "", labels=labels)


def services(sizes: Sizes) -> Iterator[bytes]:
    for number in range(sizes.services):
        made = a_service(sizes, number)
        spec = {
            "clusterIP": made.cluster_ips[0],
            "clusterIPs": list(made.cluster_ips),
            "selector": dict(made.selector),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            "type": "ClusterIP",
        }
        yield _object(made.metadata.name, made.metadata.namespace, spec=spec)


def policies(sizes: Sizes) -> Iterator[bytes]:
    for number in range(sizes.policies):
        made = a_policy(sizes, number)
        source = {"source": {"namespaces": [made.metadata.namespace]}}
        caller = {"source": {"principals": ["*/sa/caller"]}}
        rule = {"from": [source, caller], "to": [{"operation": {"ports": ["8080"]}}]}
        spec: dict[str, Any] = {"rules": [rule]}
        if made.selector is not None:
            spec["selector"] = {"matchLabels": dict(made.selector)}
        yield _object(made.metadata.name, made.metadata.namespace, spec=spec)


def _object(name: str, namespace: str, *, labels: Any = None, **parts: Any) -> bytes:
    metadata = {
        "name": name,
        "uid": f"uid-of-{namespace}-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2024-01-01T00:00:00Z",
        "labels": labels or {},
    }
    if namespace:
        metadata["namespace"] = namespace
    return json.dumps({"metadata": metadata, **parts}, separators=(",", ":")).encode()


def _pod_template() -> str:
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10}
    variables = [
        {"name": f"SETTING_{number}", "value": f"value-of-setting-{number}-of-{{app}}"}
        for number in range(24)
    ]
    conditions = [
        {
            "type": each,
            "status": "{ready}" if each in ("Ready", "ContainersReady") else "True",
            "lastProbeTime": None,
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }
        for each in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    document = {
        "metadata": {
            "name": "{name}",
            "generateName": "{app}-{template}-",
            "namespace": "{namespace}",
            "uid": "{uid}",
            "resourceVersion": "{revision}",
            "creationTimestamp": "2024-01-01T00:00:00Z",
            "labels": {"app": "{app}", "version": "v1", "pod-template-hash": "{template}"},
            "annotations": {
                "ambient.istio.io/redirection": "enabled",
                "example.com/checksum": "8f2b" * 16,
                "example.com/beat": "{beat}",
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "{app}-{template}",
                    "uid": "owner-{template}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [],
        },
        "spec": {
            "serviceAccountName": "{app}",
            "nodeName": "{node}",
            "containers": [
                {
                    "name": "app",
                    "image": "registry.example.com/team/{app}:1.2.3",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "env": variables,
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "readinessProbe": probe,
                    "livenessProbe": probe,
                }
            ],
        },
        "status": {
            "phase": "Running",
            "hostIP": "192.168.0.1",
            "podIP": "{ip}",
            "podIPs": [{"ip": "{ip}"}],
            "startTime": "2024-01-01T00:00:00Z",
            "conditions": conditions,
        },
    }
    metadata: Any = document["metadata"]
    while len(json.dumps(document, separators=(",", ":"))) < POD_BYTES:
        count = len(metadata["managedFields"])
        metadata["managedFields"].append(_managed_by(("controller", "kubelet", "tool")[count % 3]))
    text = json.dumps(document, separators=(",", ":")).replace("%", "%%")
    for mark in _MARKS:
        text = text.replace("{" + mark + "}", f"%({mark})s")
    return text


def _managed_by(manager: str) -> dict[str, Any]:
    names = ("image", "env", "ports", "resources", "readinessProbe", "livenessProbe", "name")
    container = {f"f:{name}": {".": {}, "f:value": {}, "f:name": {}} for name in names}
    fields = {"f:spec": {"f:containers": {'k:{"name":"app"}': container}}}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2024-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


_POD = _pod_template()
