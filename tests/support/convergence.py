"""A server and node proxies in memory: nothing is lost but what a test drops, nothing waits.

``Serving`` is a pipeline with its catalog. A ``Link`` is one node proxy's stream to it, in bytes:
requests and responses lie in two queues until the test moves them, so a client can be slow, be cut
off half-way and come back. Every client is audited against what the server had committed.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.resource import Resource
from controlplane.lab.ztunnel.audit import Auditor
from controlplane.lab.ztunnel.decode import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.lab.ztunnel.decode import Response as Decoded
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session as Client
from controlplane.lab.ztunnel.state import StateView
from controlplane.lab.ztunnel.workload import Workload
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import Identity, identity_of
from controlplane.mesh.settings import MeshSettings
from controlplane.pb import authorization_pb2
from controlplane.pipeline.assembly import build_pipeline
from controlplane.pipeline.compilation import Compiled, compile_manifests
from controlplane.pipeline.intake import input_of
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    node_authorizations,
)
from controlplane.xds.response import Response
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import FakeClock

SETTINGS = MeshSettings()
Versions = Mapping[str, str]
_MOST_ROUNDS = 100


class Serving:
    """The manifests so far, and everything that was ever committed of them, by commit."""

    def __init__(self) -> None:
        self.manifests: dict[Identity, Manifest] = {}
        self.catalog = Catalog()
        self.policies: dict[int, dict[str, authorization_pb2.Authorization]] = {}
        self._versions: dict[tuple[int, str, str], Versions] = {}
        self._nodes: set[str] = {""}
        self._pipeline = build_pipeline(SETTINGS)
        self._pipeline.publish_to(self.catalog)
        self.catalog.subscribe(self._committed)
        self._committed(0)
        with self._pipeline.graph.transaction():
            for source in (*self._pipeline.inputs.all(), self._pipeline.found_problems):
                source.mark_synced()

    def watch_node(self, node: str) -> None:
        """Remember what this node should be sent, from now on."""
        self._nodes.add(node)
        self._committed(self.catalog.commit)

    def change(self, put: Iterable[Manifest], removed: Iterable[Identity] = ()) -> None:
        """Commit one transaction."""
        with self._pipeline.graph.transaction():
            for identity in removed:
                if self.manifests.pop(identity, None) is not None:
                    place = input_of(self._pipeline.inputs, identity)
                    assert place is not None
                    place[0].remove(place[1])
            for manifest in put:
                identity = identity_of(manifest)
                self.manifests[identity] = manifest
                place = input_of(self._pipeline.inputs, identity)
                assert place is not None
                place[0].put(manifest)
        assert self._pipeline.graph.failures == {}

    def versions(self, commit: int, type_url: str, node: str) -> Versions | None:
        """Return what a client on ``node`` ("" for all) should hold at a commit."""
        return self._versions.get((commit, type_url, node))

    def from_scratch(self, node: str) -> StateView:
        """Return what a node knows that is told the final manifests in one response a type."""
        compiled: Compiled = compile_manifests(
            ((manifest, None) for manifest in self.manifests.values()), SETTINGS
        )
        client = Client(NodeIdentity(node_name=node))
        client.connect()
        for type_url, resources in (
            (AUTHORIZATION_TYPE, compiled.authorizations(node or None)),
            (ADDRESS_TYPE, compiled.addresses()),
        ):
            response = discovery_pb2.DeltaDiscoveryResponse(
                type_url=type_url,
                nonce=type_url,
                resources=[discovery_pb2.Resource.FromString(each.body) for each in resources],
            )
            client.receive(response.SerializeToString())
        assert client.nacks == []
        return client.state.view()

    def _committed(self, commit: int) -> None:
        tables = self.catalog.table
        everywhere = tables(AUTHORIZATIONS).resources()
        self.policies[commit] = {each.name: _policy_of(each) for each in everywhere}
        for node in self._nodes:
            policies = everywhere
            if node:
                policies = [
                    *tables(GLOBAL_AUTHORIZATIONS).resources(),
                    *tables(node_authorizations(node)).resources(),
                ]
            for type_url, resources in (
                (ADDRESS_TYPE, tables(ADDRESSES).resources()),
                (AUTHORIZATION_TYPE, policies),
            ):
                self._versions[commit, type_url, node] = {
                    each.name: each.version for each in resources
                }


class Link:
    """One node proxy and its stream."""

    def __init__(self, serving: Serving, node: str = "", *, on_demand: bool = False) -> None:
        self.node = node
        self.client = Client(NodeIdentity(node_name=node), on_demand=on_demand)
        self.auditor = Auditor(required=self._required, expected=self._expected)
        self.auditor.watch(self.client)
        self._serving = serving
        self._clock = FakeClock()
        serving.watch_node(node)
        self.reconnect()

    def reconnect(self) -> None:
        """Lose what is under way in both directions and begin a stream."""
        self._requests = deque(self.client.connect())
        self._responses = deque[Response]()
        self._sent: dict[str, int] = {}
        self._commit = 0
        self._server = Session(self._serving.catalog, XdsSettings(), self._clock)

    def demand(self, key: str) -> None:
        """Ask for a key, as a node proxy does when it holds nothing of that name or address."""
        held = self.client.state
        addresses = {
            str(address)
            for workload in held.workloads.by_uid.values()
            for address in workload.network_addresses
        }
        if key not in {*held.workloads.by_uid, *map(str, held.services.by_key), *addresses}:
            self._requests.append(self.client.demand(key))

    def upload(self, count: int) -> None:
        """Let the server have some requests and answer."""
        for _ in range(min(count, len(self._requests))):
            data = self._requests.popleft()
            self._server.receive(discovery_pb2.DeltaDiscoveryRequest.FromString(data))
        self._responses.extend(filter(None, self._server.responses()))
        reason = self._server.ending()
        if reason is not None:
            self.reconnect()

    def download(self, count: int) -> None:
        """Let the client have some responses and answer."""
        for _ in range(min(count, len(self._responses))):
            response = self._responses.popleft()
            self._commit = response.commit
            # A removal follows updates that may already be of a later commit.
            newest = max(response.commit, self._sent.get(response.type_url, 0))
            self._sent[response.type_url] = newest
            self._requests.append(self.client.receive(response.body))

    def settle(self) -> None:
        """Let both sides finish."""
        for _ in range(_MOST_ROUNDS):
            self.upload(len(self._requests))
            if not self._responses:
                return
            self.download(len(self._responses))
        raise AssertionError("the conversation does not end")

    def _required(self, workload: Workload) -> Iterable[str]:
        yield from workload.authorization_policies
        for name, policy in self._serving.policies[self._commit].items():
            if policy.scope == authorization_pb2.GLOBAL or (
                policy.scope == authorization_pb2.NAMESPACE
                and policy.namespace == workload.namespace
            ):
                yield name

    def _expected(self, type_url: str, response: Decoded) -> Versions | None:
        if type_url == response.type_url == ADDRESS_TYPE and self.client.on_demand:
            return None
        commit = self._commit if type_url != response.type_url else self._sent[type_url]
        return self._serving.versions(commit, type_url, self.node)


def _policy_of(resource: Resource) -> Any:
    wrapped = discovery_pb2.Resource.FromString(resource.body)
    return authorization_pb2.Authorization.FromString(wrapped.resource.value)
