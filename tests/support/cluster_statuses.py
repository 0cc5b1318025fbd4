"""An API server in memory that knows statuses: lists in pages, applies by field, JSON patches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.cluster.client import Answer
from tests.support.cluster_memory import ClusterMemory, Json, a_refusal
from tests.support.kubernetes_fields import PatchError, apply, json_patched

PATHS = {
    "Service": "/api/v1/services",
    "ServiceEntry": "/apis/networking.istio.io/v1/serviceentries",
    "WorkloadEntry": "/apis/networking.istio.io/v1/workloadentries",
    "AuthorizationPolicy": "/apis/security.istio.io/v1/authorizationpolicies",
    "RequestAuthentication": "/apis/security.istio.io/v1/requestauthentications",
    "VirtualService": "/apis/networking.istio.io/v1/virtualservices",
    "DestinationRule": "/apis/networking.istio.io/v1/destinationrules",
}
ROUTE_PATHS = {
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/httproutes",
    "GRPCRoute": "/apis/gateway.networking.k8s.io/v1/grpcroutes",
    "TCPRoute": "/apis/gateway.networking.k8s.io/v1alpha2/tcproutes",
    "TLSRoute": "/apis/gateway.networking.k8s.io/v1alpha2/tlsroutes",
    "BackendTLSPolicy": "/apis/gateway.networking.k8s.io/v1/backendtlspolicies",
}


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class StatusMemory(ClusterMemory):
    """``refused`` are answered instead of a PATCH, by name of the object."""

    refused: dict[str, Answer] = field(default_factory=dict)

    def make(self, kind: str, name: str, namespace: str = "default", **document: Any) -> Json:
        metadata = {"name": name, "namespace": namespace, **document.pop("metadata", {})}
        return self.put(path_of(kind, name, namespace), {"metadata": metadata, **document})

    def live(self, kind: str, name: str, namespace: str = "default") -> Json:
        return self.objects[path_of(kind, name, namespace)]

    def conditions(self, kind: str, name: str, namespace: str = "default") -> dict[str, Json]:
        status = self.live(kind, name, namespace).get("status", {})
        return {each["type"]: each for each in status.get("conditions", [])}

    def _answer(self, method: str, path: str, params: Mapping[str, str], body: Any) -> Answer:
        if method == "GET" and path in (*PATHS.values(), *ROUTE_PATHS.values()):
            return self._page(path, params)
        if method == "PATCH":
            return self._patched(path.removesuffix("/status"), params, body)
        return super()._answer(method, path, params, body)

    def _page(self, path: str, params: Mapping[str, str]) -> Answer:
        head, _, plural = path.rpartition("/")
        found = [
            each
            for at, each in sorted(self.objects.items())
            if at.startswith(f"{head}/namespaces/") and at.split("/")[-2] == plural
        ]
        begin, limit = int(params.get("continue") or 0), int(params["limit"])
        rest = {"continue": str(begin + limit)} if len(found) > begin + limit else {}
        metadata = {"resourceVersion": str(self.revision), **rest}
        items = found[begin : begin + limit]
        return Answer(200, json.dumps({"metadata": metadata, "items": items}).encode())

    def _patched(self, path: str, params: Mapping[str, str], body: Any) -> Answer:
        found = self.objects.get(path)
        if found is None:
            return a_refusal(404, "NotFound")
        if found["metadata"]["name"] in self.refused:
            return self.refused[found["metadata"]["name"]]
        if isinstance(body, list):
            try:
                document = json_patched(found, body)
            except PatchError as error:
                return a_refusal(422, "Invalid", message=str(error))
        else:
            manager = params["fieldManager"]
            document = apply(found, body, manager=manager, subresource="status", is_forced=True)
        if document != found:
            document = self.put(path, document)
        return Answer(200, json.dumps(document).encode())


def path_of(kind: str, name: str, namespace: str = "default") -> str:
    head, _, plural = (PATHS | ROUTE_PATHS)[kind].rpartition("/")
    return f"{head}/namespaces/{namespace}/{plural}/{name}"
