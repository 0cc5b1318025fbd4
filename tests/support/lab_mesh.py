"""Manifests for labs of tests: two nodes with their ztunnels, and whatever else is named."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.mesh import Lab, lab

NODES = ("node-1", "node-2")


def a_document(kind: str, name: str, namespace: str = "shop", **rest: Any) -> dict[str, Any]:
    """Return an object; ``rest`` are its fields, ``labels`` and ``annotations`` its metadata."""
    versions = {
        "Deployment": "apps/v1",
        "DaemonSet": "apps/v1",
        "Gateway": "gateway.networking.k8s.io/v1",
        "HTTPRoute": "gateway.networking.k8s.io/v1",
        "GRPCRoute": "gateway.networking.k8s.io/v1",
        "TCPRoute": "gateway.networking.k8s.io/v1alpha2",
        "AuthorizationPolicy": "security.istio.io/v1",
        "PeerAuthentication": "security.istio.io/v1",
        "RequestAuthentication": "security.istio.io/v1",
        "ServiceEntry": "networking.istio.io/v1",
    }
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    for key in ("labels", "annotations"):
        if key in rest:
            metadata[key] = rest.pop(key)
    return {
        "apiVersion": versions.get(kind, "v1"),
        "kind": kind,
        "metadata": metadata,
        **rest,
    }


def a_cluster(*namespaces: str) -> list[dict[str, Any]]:
    """Return two nodes, their ztunnels and ambient namespaces."""
    ambient = {"istio.io/dataplane-mode": "ambient"}
    return [
        *(a_document("Node", name, "", labels={"kubernetes.io/hostname": name}) for name in NODES),
        a_document("Namespace", "istio-system", ""),
        *(a_document("Namespace", name, "", labels=ambient) for name in namespaces),
        a_document("ServiceAccount", "ztunnel", "istio-system"),
        a_document(
            "DaemonSet",
            "ztunnel",
            "istio-system",
            spec={
                "selector": {"matchLabels": {"app": "ztunnel"}},
                "template": {
                    "metadata": {"labels": {"app": "ztunnel"}},
                    "spec": {
                        "serviceAccountName": "ztunnel",
                        "containers": [{"name": "istio-proxy", "image": "ztunnel"}],
                    },
                },
            },
        ),
    ]


def an_application(
    name: str,
    namespace: str = "shop",
    *,
    version: str = "v1",
    replicas: int = 1,
    port: int = 8080,
    account: str = "",
) -> list[dict[str, Any]]:
    """Return the ServiceAccount and the Deployment of an application, labelled ``app``."""
    labels = {"app": name, "version": version}
    account = account or name
    return [
        a_document("ServiceAccount", account, namespace),
        a_document(
            "Deployment",
            f"{name}-{version}",
            namespace,
            spec={
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": account,
                        "containers": [
                            {"name": name, "image": name, "ports": [{"containerPort": port}]}
                        ],
                    },
                },
            },
        ),
    ]


def a_service(
    name: str,
    namespace: str = "shop",
    *,
    selector: Mapping[str, str] | None = None,
    waypoint: str = "",
    port: int = 80,
    port_name: str = "http",
    target: int = 8080,
) -> dict[str, Any]:
    """Return a Service of the application of the same name."""
    labels = {"istio.io/use-waypoint": waypoint} if waypoint else {}
    return a_document(
        "Service",
        name,
        namespace,
        labels=labels,
        spec={
            "selector": dict(selector or {"app": name}),
            "ports": [{"name": port_name, "port": port, "targetPort": target}],
        },
    )


def a_waypoint(name: str = "waypoint", namespace: str = "shop", **rest: Any) -> dict[str, Any]:
    """Return a waypoint Gateway."""
    return a_document(
        "Gateway",
        name,
        namespace,
        spec={
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
        **rest,
    )


def write(folder: Path, file: str, *documents: Mapping[str, Any]) -> None:
    """Replace one file of a folder of manifests, in one step; without documents it goes."""
    path = folder / file
    if not documents:
        path.unlink(missing_ok=True)
        return
    fresh = folder / f".{file}.new"
    fresh.write_text(yaml.safe_dump_all(documents))
    fresh.replace(path)


@asynccontextmanager
async def a_lab(
    directory: Path,
    *documents: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    envoy: EnvoyOptions | None = None,
) -> AsyncIterator[tuple[Lab, Path]]:
    """Run a lab with ``documents``; yields it with the folder of its manifests."""
    folder, work = directory / "manifests", directory / "work"
    folder.mkdir()
    work.mkdir()
    write(folder, "mesh.yaml", *documents)
    async with lab(folder, work, settings=settings, envoy=envoy, seed=1) as running:
        yield running, folder
