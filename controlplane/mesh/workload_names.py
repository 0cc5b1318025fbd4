"""What a workload is called in telemetry, and whether it speaks HBONE.

Labels, annotations and owners come in, names and tunnel protocols go out to every rule that makes
workloads. docs/protocol/workloads.md, WL-30 to WL-37.
"""

import re
from collections.abc import Mapping
from sys import intern
from typing import Final

from controlplane.manifests.core import Pod
from controlplane.manifests.metadata import Metadata
from controlplane.model.workload import TunnelProtocol

WORKLOAD_NAME_LABEL: Final = "service.istio.io/workload-name"
REDIRECTION_ANNOTATION: Final = "ambient.istio.io/redirection"
TUNNEL_LABEL: Final = "networking.istio.io/tunnel"
_CANONICAL_NAME_LABELS: Final = (
    "service.istio.io/canonical-name",
    "app.kubernetes.io/name",
    "app",
)
_CANONICAL_REVISION_LABELS: Final = (
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
)
_HASH_LABELS: Final = ("pod-template-hash", "rollouts-pod-template-hash")
_CRON_JOB: Final = re.compile(r"(.+)-\d{8,10}", re.ASCII)


def pod_workload_name(pod: Pod) -> str:
    """Return the name of what made the pod, or the pod's own."""
    metadata = pod.metadata
    labelled = metadata.labels.get(WORKLOAD_NAME_LABEL)
    name = _controller_name(metadata) if labelled is None else labelled
    return name or metadata.name


def canonical_name(labels: Mapping[str, str], workload_name: str) -> str:
    """Return the canonical service name; a label that is there but empty still decides."""
    return next(
        (labels[label] for label in _CANONICAL_NAME_LABELS if label in labels), workload_name
    )


def canonical_revision(labels: Mapping[str, str]) -> str:
    """Return the canonical revision, ``latest`` when no label names one."""
    return next(
        (labels[label] for label in _CANONICAL_REVISION_LABELS if label in labels), "latest"
    )


def speaks_http_tunnel(labels: Mapping[str, str]) -> bool:
    """Return whether the application itself terminates HBONE."""
    return "http" in labels.get(TUNNEL_LABEL, "").split(",")


def tunnel_protocol(labels: Mapping[str, str], annotations: Mapping[str, str]) -> TunnelProtocol:
    """Return HBONE when traffic is redirected to a proxy or the application speaks it itself."""
    is_redirected = annotations.get(REDIRECTION_ANNOTATION) == "enabled"
    is_tunnelled = is_redirected or speaks_http_tunnel(labels)
    return TunnelProtocol.HBONE if is_tunnelled else TunnelProtocol.NONE


def _controller_name(metadata: Metadata) -> str:
    owner = metadata.owner
    if owner is None or not metadata.generate_name:
        return metadata.name
    match owner.kind:
        case "ReplicaSet":
            for label in _HASH_LABELS:
                template = metadata.labels.get(label, "")
                if template and owner.name.endswith(template):
                    # Shared by all replicas; without interning each would keep its own copy.
                    return intern(owner.name.removesuffix(f"-{template}"))
        case "ReplicationController":
            return metadata.labels.get("deploymentconfig", owner.name)
        case "Job":
            scheduled = _CRON_JOB.fullmatch(owner.name)
            if scheduled is not None:
                return scheduled[1]
    return owner.name
