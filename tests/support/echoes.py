"""The mesh of Gateway API's tests for meshes, in our own words: two versions of an echo.

Services ``echo-v1`` and ``echo-v2`` are a version each and ``echo`` is both, in namespace
``echoes``; ``caller`` lives in another. The contract's B7 says which ports they have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.support.lab_mesh import a_cluster, a_document, a_waypoint, an_application
from tests.support.lab_mesh import a_service as a_lab_service

ECHOES = "echoes"
CALLERS = "callers"
VERSIONS = ("v1", "v2")
_PORTS = {
    "http": (80, 8080),
    "http-alt": (8080, 8080),
    "https": (443, 8443),
    "tcp": (9090, 9090),
    "grpc": (7070, 7070),
}


def some_echoes(*, waypoint: bool = True) -> list[dict[str, Any]]:
    """Return the mesh; without a waypoint there are no routes."""
    return [
        *a_cluster(ECHOES, CALLERS),
        *([a_waypoint(namespace=ECHOES)] if waypoint else []),
        *(
            each
            for version in VERSIONS
            for each in an_application("echo", ECHOES, version=version, account=f"echo-{version}")
        ),
        *the_services(waypoint=waypoint),
        *an_application("caller", CALLERS),
        a_lab_service("caller", CALLERS),
    ]


def the_services(*, waypoint: bool = True) -> list[dict[str, Any]]:
    """Return the three Services."""
    return [
        _service("echo", {"app": "echo"}, waypoint=waypoint),
        *(
            _service(f"echo-{version}", {"app": "echo", "version": version}, waypoint=waypoint)
            for version in VERSIONS
        ),
    ]


def a_route(
    rules: str,
    *,
    name: str = "route",
    namespace: str = ECHOES,
    kind: str = "HTTPRoute",
    parent: str = "echo",
    **reference: Any,
) -> dict[str, Any]:
    """Return a route of a Service of the echoes from the YAML of its rules."""
    to = {"group": "", "kind": "Service", "name": parent, "namespace": ECHOES, **reference}
    loaded: Sequence[Mapping[str, Any]] = yaml.safe_load(rules)
    return a_document(kind, name, namespace, spec={"parentRefs": [to], "rules": list(loaded)})


def _service(name: str, selector: Mapping[str, str], *, waypoint: bool) -> dict[str, Any]:
    ports: list[dict[str, Any]] = []
    for port_name, (port, target) in _PORTS.items():
        is_told = (name, port_name) == ("echo", "grpc")
        told = {"appProtocol": "kubernetes.io/h2c"} if is_told else {}
        ports.append({"name": port_name, "port": port, "targetPort": target, **told})
    labels = {"istio.io/use-waypoint": "waypoint"} if waypoint else {}
    spec = {"selector": dict(selector), "ports": ports}
    return a_document("Service", name, ECHOES, labels=labels, spec=spec)
