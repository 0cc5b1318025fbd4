"""An istiod as far as its locks go: takes, renews and gives up by its own rules and clock.

It follows the election of the Kubernetes client that istiod is built on, and nothing of ours: its
records are made here by hand, so that ours are read by somebody else.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterUnavailableError
from tests.support.authority_stores import ToldClock

Json = dict[str, Any]
ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
KEY_ANNOTATION = "leader.istio.io/holder-key"
NAMESPACE = "/api/v1/namespaces/istio-system/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"


def istiod_paths(revision: str) -> list[str]:
    maps = ("istio-namespace-controller-election", "istio-ip-autoallocate")
    leases = (
        "istio-status-leader",
        f"istio-gateway-deployment-{revision}",
        f"istio-gateway-status-leader-{revision}",
    )
    return [f"{NAMESPACE}/{name}" for name in maps] + [f"{LEASES}/{name}" for name in leases]


def record_of(document: Json) -> Json:
    """Return the record of a lock the way istiod reads it."""
    annotations = document["metadata"].get("annotations") or {}
    if document["kind"] == "ConfigMap":
        read: Json = json.loads(annotations.get(ANNOTATION, "{}"))
        return read
    spec = document.get("spec", {})
    return {
        "holderIdentity": spec.get("holderIdentity", ""),
        "holderKey": annotations.get(KEY_ANNOTATION, ""),
        "leaseDurationSeconds": spec.get("leaseDurationSeconds", 0),
        "acquireTime": spec.get("acquireTime"),
        "renewTime": spec.get("renewTime"),
        "leaderTransitions": spec.get("leaseTransitions", 0),
    }


@dataclass
class Elector:
    """One election of one istiod. ``default`` is the revision that is the cluster's default."""

    client: ClusterClient
    path: str
    identity: str
    clock: ToldClock
    revision: str = "default"
    default: str = ""
    observed: Json = field(default_factory=dict)
    observed_at: float = 0.0
    renewed_at: float | None = None

    @property
    def writes(self) -> bool:
        """Whether what the lock guards may be written by this istiod now."""
        return self.renewed_at is not None and self.clock.monotonic() < self.renewed_at + 15

    async def attempt(self) -> None:
        try:
            succeeded = await self._try()
        except ClusterUnavailableError:
            succeeded = False
        if succeeded:
            self.renewed_at = self.clock.monotonic()
        elif self.observed.get("holderIdentity") != self.identity:
            self.renewed_at = None

    async def release(self) -> None:
        """Leave; a record that cannot be given up now runs out."""
        self.renewed_at = None
        try:
            answer = await self.client.request("GET", self.path)
            if answer.status == 200:
                await self._give_up(json.loads(answer.body))
        except ClusterUnavailableError:
            return

    async def _give_up(self, document: Json) -> None:
        if record_of(document).get("holderIdentity") == self.identity:
            transitions = record_of(document).get("leaderTransitions", 0)
            await self._put(document, self._record("", "", 1, transitions))

    async def _try(self) -> bool:
        now = self.clock.monotonic()
        answer = await self.client.request("GET", self.path)
        if answer.status == 404:
            kind = "Lease" if "/leases/" in self.path else "ConfigMap"
            name = self.path.rpartition("/")[2]
            metadata = {"name": name, "namespace": "istio-system"}
            made = {
                "apiVersion": "v1" if kind == "ConfigMap" else "coordination.k8s.io/v1",
                "kind": kind,
                "metadata": metadata,
            }
            return await self._put(made, self._record(self.identity, self._key, 30, 0))
        if answer.status != 200:
            return False
        document = json.loads(answer.body)
        record = record_of(document)
        if record != self.observed:
            self.observed, self.observed_at = record, now
        holder = record.get("holderIdentity", "")
        is_alive = holder and self.observed_at + 30 > now
        if is_alive and holder != self.identity and not self._evicts(record.get("holderKey", "")):
            return False
        transitions = record.get("leaderTransitions", 0) + (holder != self.identity)
        return await self._put(
            document, self._record(self.identity, self._key, 30, int(transitions))
        )

    @property
    def _key(self) -> str:
        return "" if self.path.endswith(f"-{self.revision}") else self.revision

    def _evicts(self, key: str) -> bool:
        return bool(self._key) and self.default == self.revision != key.removeprefix("^")

    def _record(self, holder: str, key: str, seconds: int, transitions: int) -> Json:
        now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "holderIdentity": holder,
            "holderKey": key,
            "leaseDurationSeconds": seconds,
            "acquireTime": now,
            "renewTime": now,
            "leaderTransitions": transitions,
        }

    async def _put(self, document: Json, record: Json) -> bool:
        annotations = document["metadata"].setdefault("annotations", {})
        if document["kind"] == "ConfigMap":
            annotations[ANNOTATION] = json.dumps(record)
        else:
            document["spec"] = {
                "holderIdentity": record["holderIdentity"],
                "leaseDurationSeconds": record["leaseDurationSeconds"],
                "acquireTime": record["acquireTime"].replace("Z", ".000000Z"),
                "renewTime": record["renewTime"].replace("Z", ".000000Z"),
                "leaseTransitions": record["leaderTransitions"],
            }
            annotations.pop(KEY_ANNOTATION, None)
            if record["holderKey"]:
                annotations[KEY_ANNOTATION] = record["holderKey"]
        body = json.dumps(document).encode()
        if "resourceVersion" in document["metadata"]:
            answer = await self.client.request("PUT", self.path, body=body)
        else:
            answer = await self.client.request("POST", self.path.rpartition("/")[0], body=body)
        if answer.status not in {200, 201}:
            return False
        self.observed = record_of(json.loads(answer.body))
        self.observed_at = self.clock.monotonic()
        return True


@dataclass
class Istiod:
    """All elections of one istiod that concern us."""

    client: ClusterClient
    identity: str
    clock: ToldClock
    revision: str = "default"
    default: str = ""
    electors: list[Elector] = field(init=False)

    def __post_init__(self) -> None:
        self.electors = [
            Elector(self.client, path, self.identity, self.clock, self.revision, self.default)
            for path in istiod_paths(self.revision)
        ]

    @property
    def writes(self) -> bool:
        return any(elector.writes for elector in self.electors)

    @property
    def writes_all(self) -> bool:
        return all(elector.writes for elector in self.electors)

    async def attempt(self) -> None:
        for elector in self.electors:
            await elector.attempt()

    async def release(self) -> None:
        for elector in self.electors:
            await elector.release()
