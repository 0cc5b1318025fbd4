"""The state behind the double of the API server: objects, revisions, history and what kinds exist.

Every write takes the next revision and is remembered, so that watches can go on from any revision
that was not compacted.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

Json = dict[str, Any]
Key = tuple[str, str]

DEFINITIONS = "customresourcedefinitions"
_ESTABLISHED = {"type": "Established", "status": "True"}
_NO_GENERATION = frozenset({"apiVersion", "kind", "metadata", "status"})


class Resource(NamedTuple):
    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    namespaced: bool = True
    has_status: bool = False
    is_custom: bool = False


_BUILT_IN = (
    Resource("", ("v1",), "Namespace", "namespaces", False, True),
    Resource("", ("v1",), "Node", "nodes", False, True),
    Resource("", ("v1",), "Pod", "pods", True, True),
    Resource("", ("v1",), "Service", "services", True, True),
    Resource("", ("v1",), "ServiceAccount", "serviceaccounts"),
    Resource("", ("v1",), "ConfigMap", "configmaps"),
    Resource("", ("v1",), "Secret", "secrets"),
    Resource("apps", ("v1",), "Deployment", "deployments", True, True),
    Resource("apps", ("v1",), "StatefulSet", "statefulsets", True, True),
    Resource("apps", ("v1",), "DaemonSet", "daemonsets", True, True),
    Resource("autoscaling", ("v2",), "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Resource("policy", ("v1",), "PodDisruptionBudget", "poddisruptionbudgets"),
    Resource("discovery.k8s.io", ("v1",), "EndpointSlice", "endpointslices"),
    Resource("coordination.k8s.io", ("v1",), "Lease", "leases"),
    Resource(
        "admissionregistration.k8s.io",
        ("v1",),
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        False,
    ),
    Resource("apiextensions.k8s.io", ("v1",), "CustomResourceDefinition", DEFINITIONS, False, True),
)
_CUSTOM = (
    ("gateway.networking.k8s.io", ("v1", "v1beta1"), "GatewayClass", "gatewayclasses", False),
    ("gateway.networking.k8s.io", ("v1", "v1beta1"), "Gateway", "gateways", True),
    ("gateway.networking.k8s.io", ("v1", "v1beta1"), "HTTPRoute", "httproutes", True),
    ("gateway.networking.k8s.io", ("v1",), "GRPCRoute", "grpcroutes", True),
    ("gateway.networking.k8s.io", ("v1alpha2",), "TCPRoute", "tcproutes", True),
    ("gateway.networking.k8s.io", ("v1alpha2", "v1alpha3"), "TLSRoute", "tlsroutes", True),
    ("gateway.networking.k8s.io", ("v1",), "BackendTLSPolicy", "backendtlspolicies", True),
    ("networking.istio.io", ("v1", "v1beta1"), "ServiceEntry", "serviceentries", True),
    ("networking.istio.io", ("v1", "v1beta1"), "WorkloadEntry", "workloadentries", True),
    ("networking.istio.io", ("v1", "v1beta1"), "VirtualService", "virtualservices", True),
    ("networking.istio.io", ("v1", "v1beta1"), "DestinationRule", "destinationrules", True),
    ("security.istio.io", ("v1", "v1beta1"), "AuthorizationPolicy", "authorizationpolicies", True),
    ("security.istio.io", ("v1", "v1beta1"), "PeerAuthentication", "peerauthentications", True),
    ("security.istio.io", ("v1",), "RequestAuthentication", "requestauthentications", True),
)


class Happening(NamedTuple):
    """One write: ``before`` None for a new object, ``after`` None for a deleted one."""

    revision: int
    plural: str
    key: Key
    before: Json | None
    after: Json | None
    last: Json


@dataclass
class KubernetesObjects:
    revision: int = 1000
    compacted: int = 0
    resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    held: dict[str, dict[Key, Json]] = field(default_factory=dict)
    history: list[Happening] = field(default_factory=list)
    writes: int = 0
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    uids: set[str] = field(default_factory=set)
    """Of every object there is."""
    owned: dict[str, set[tuple[str, Key]]] = field(default_factory=dict)
    """Plural and key of what names an owner, by the owner's uid."""

    def __post_init__(self) -> None:
        for each in _BUILT_IN:
            self.resources[each.group, each.plural] = each
            self.held[each.plural] = {}

    def define_all(self) -> None:
        """Make the definitions of every custom kind that the mesh reads."""
        for each in custom_definitions():
            self.write(DEFINITIONS, ("", each["metadata"]["name"]), each)

    def get(self, plural: str, key: Key) -> Json | None:
        return self.held.get(plural, {}).get(key)

    def write(self, plural: str, key: Key, document: Json) -> Json:
        """Make or replace an object; nothing happens when it is as it was."""
        before = self.held[plural].get(key)
        after = deepcopy(document)
        if plural == DEFINITIONS:
            # The API server's own controller does that, when nothing is wrong with it.
            after.setdefault("status", {"conditions": [_ESTABLISHED]})
        metadata = after.setdefault("metadata", {})
        metadata["name"] = key[1]
        if key[0]:
            metadata["namespace"] = key[0]
        had = before["metadata"] if before else {}
        metadata["uid"] = had.get("uid") or metadata.get("uid") or str(uuid4())
        metadata["creationTimestamp"] = (
            had.get("creationTimestamp")
            or metadata.get("creationTimestamp")
            or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        )
        generation = int(had.get("generation", 0))
        is_other = before is None or self._judged(plural, before) != self._judged(plural, after)
        metadata["generation"] = generation + 1 if is_other else generation
        metadata["resourceVersion"] = had.get("resourceVersion", "")
        if before == after:
            return before
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        self.held[plural][key] = after
        self._happened(Happening(self.revision, plural, key, before, after, after))
        if plural == DEFINITIONS:
            self._defined(after)
        return after

    def delete(self, plural: str, key: Key) -> Json | None:
        """Delete an object, what is in it, and the objects of a definition."""
        found = self.held.get(plural, {}).get(key)
        if found is None:
            return None
        if plural == DEFINITIONS:
            spec = found["spec"]
            for each in list(self.held.get(spec["names"]["plural"], ())):
                self.delete(spec["names"]["plural"], each)
        del self.held[plural][key]
        self.revision += 1
        last = deepcopy(found)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._happened(Happening(self.revision, plural, key, found, None, last))
        if plural == DEFINITIONS:
            spec = found["spec"]
            self.resources.pop((spec["group"], spec["names"]["plural"]), None)
            self.held.pop(spec["names"]["plural"], None)
        if plural == "namespaces":
            inside = [(other, each) for other, held in self.held.items() for each in held]
            for other, each in inside:
                if each[0] == key[1]:
                    self.delete(other, each)
        return last

    def at(self, revision: int, plural: str) -> dict[Key, Json]:
        """Return the objects as they were at ``revision``, which was not compacted."""
        found = dict(self.held[plural])
        for each in reversed(self.history):
            if each.revision <= revision:
                break
            if each.plural == plural:
                if each.before is None:
                    found.pop(each.key, None)
                else:
                    found[each.key] = each.before
        return found

    def compact(self) -> None:
        """Forget the history: whoever goes on from before now is told 410."""
        self.compacted = self.revision
        self.history.clear()
        self.wake()

    def since(self, revision: int, plural: str) -> Iterator[Happening]:
        # Revisions are in order, and watches ask for the newest few.
        newest = []
        for each in reversed(self.history):
            if each.revision <= revision:
                break
            if each.plural == plural:
                newest.append(each)
        return reversed(newest)

    def wake(self) -> None:
        turn, self.turn = self.turn, asyncio.Event()
        turn.set()

    def _happened(self, happening: Happening) -> None:
        self.writes += 1
        self.history.append(happening)
        place = happening.plural, happening.key
        if happening.before is not None:
            self.uids.discard(happening.before["metadata"]["uid"])
            for uid in _owners(happening.before):
                self.owned[uid].discard(place)
                if not self.owned[uid]:
                    del self.owned[uid]
        if happening.after is not None:
            self.uids.add(happening.after["metadata"]["uid"])
            for uid in _owners(happening.after):
                self.owned.setdefault(uid, set()).add(place)
        self.wake()

    def _judged(self, plural: str, document: Json) -> Json:
        """Return what a new generation comes of: all but the status in a custom resource."""
        is_custom = any(each.is_custom for each in self.resources.values() if each.plural == plural)
        if not is_custom:
            return {"spec": document.get("spec")}
        return {name: value for name, value in document.items() if name not in _NO_GENERATION}

    def _defined(self, definition: Json) -> None:
        spec = definition["spec"]
        resource = Resource(
            spec["group"],
            tuple(each["name"] for each in spec["versions"] if each.get("served")),
            spec["names"]["kind"],
            spec["names"]["plural"],
            spec.get("scope") == "Namespaced",
            has_status=True,
            is_custom=True,
        )
        self.resources[resource.group, resource.plural] = resource
        self.held.setdefault(resource.plural, {})


def _owners(document: Json) -> set[str]:
    references = document["metadata"].get("ownerReferences") or ()
    return {each["uid"] for each in references if each.get("uid")}


def a_definition(
    group: str,
    versions: tuple[str, ...],
    kind: str,
    plural: str,
    *,
    namespaced: bool = True,
    is_established: bool = True,
) -> Json:
    """Return a definition that real API servers take too: any spec, conditions by their type."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups under k8s.io need somebody's word for it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": each,
                    "served": True,
                    "storage": each == versions[0],
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": _SCHEMA},
                }
                for each in versions
            ],
        },
        "status": {"conditions": [{**_ESTABLISHED, "status": str(is_established)}]},
    }


def custom_definitions() -> Iterator[Json]:
    """Return the definitions of every custom kind that the mesh reads."""
    for group, versions, kind, plural, namespaced in _CUSTOM:
        yield a_definition(group, versions, kind, plural, namespaced=namespaced)


def _listed_by(key: str) -> Json:
    return {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
        "items": {
            "type": "object",
            "required": [key],
            "properties": {key: {"type": "string"}},
            "x-kubernetes-preserve-unknown-fields": True,
        },
    }


_ANYTHING: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "spec": {**_ANYTHING, "properties": {"listeners": _listed_by("name")}},
        "status": {
            **_ANYTHING,
            "properties": {"conditions": _listed_by("type"), "listeners": _listed_by("name")},
        },
    },
}


def selects(parameters: Json) -> Callable[[Json], bool]:
    """Return what tells whether an object passes the field and label selectors."""
    fields = [each for each in parameters.get("fieldSelector", "").split(",") if each]
    labels = [each for each in parameters.get("labelSelector", "").split(",") if each]

    def passes(document: Json) -> bool:
        return all(
            _passes(_text_at(document, name), term) for name, term in _split(fields)
        ) and all(
            _passes(document["metadata"].get("labels", {}).get(name), term)
            for name, term in _split(labels)
        )

    return passes


def _split(terms: list[str]) -> Iterator[tuple[str, str]]:
    for each in terms:
        name, equals, value = each.partition("=")
        sort = ("!" if name.endswith("!") else "=") if equals else "?"
        yield name.rstrip("!"), sort + value.lstrip("=")


def _passes(text: str | None, term: str) -> bool:
    if term[0] == "?":
        return text is not None
    return ((text or "") == term[1:]) != (term[0] == "!")


def _text_at(document: Json, path: str) -> str:
    value: Any = document
    for step in path.split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    return str(value)


def encoded(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
