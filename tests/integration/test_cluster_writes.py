"""Leading, keeping keys and writing, over HTTP against a double of the API server."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.authentication.cluster_reviews import ClusterTokenReviews
from controlplane.authentication.review import ReviewError
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.secret_key_store import SecretKeyStore
from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ApiServer, ClusterLocation, open_cluster
from controlplane.cluster.apply import Applier, Outcome, Target
from controlplane.cluster.election_locks import ElectionLocks, LockSettings
from controlplane.cluster.lease import LeaseLeadership, LeaseSettings
from controlplane.cluster.write_lead import WriteLead
from controlplane.controllers.root_certificates import RootCertificates, RootPace, Roots
from tests.support.authentication import a_status
from tests.support.authority_stores import ToldClock, World
from tests.support.istiod_elector import Istiod, record_of
from tests.support.kubernetes_api import KubernetesApi

QUICK = LeaseSettings(duration=4.5, deadline=3.0, retry=0.1)
"""Quick to be waited for, and not to be lost on a machine that is busy for a second or two."""
SHORTER = RootPace(look=0.05, resync=5.0, watch_pause=0.05)
CONFIG_MAP = Target(api_version="v1", plural="configmaps", namespace="shop", name="m")


class Lead:
    seconds_left = 5.0


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        for name in ("istio-system", "shop", "kube-system", "kube-public"):
            api.objects.write("namespaces", ("", name), {})
        yield api


@pytest.fixture
async def client(api: KubernetesApi, tmp_path: Path) -> AsyncIterator[ApiServer]:
    config = tmp_path / "kubeconfig"
    config.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{api.url}"}}}}]
users: [{{name: u, user: {{}}}}]
"""
    )
    opened = await open_cluster(ClusterLocation(kubeconfig=config))
    yield opened
    await opened.close()


def a_replica(client: ApiServer, name: str) -> LeaseLeadership:
    return LeaseLeadership(
        client,
        namespace="istio-system",
        name="istiod-lite",
        replica_id=name,
        clock=SystemClock(),
        settings=QUICK,
    )


def a_map(**data: str) -> dict[str, Any]:
    metadata = {"name": "m", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.mark.proves("LE-1", "LE-3", "LE-7")
async def test_the_lead_passes_on_when_it_is_given_up_and_when_its_holder_is_gone(
    api: KubernetesApi, client: ApiServer
) -> None:
    replicas = [a_replica(client, name) for name in "abc"]
    await replicas[0].campaign()
    runs = [asyncio.create_task(each.run()) for each in replicas]
    assert replicas[0].token == 1
    await _stop(runs[0])
    await api.until(lambda: replicas[1].is_leader or replicas[2].is_leader)
    second = 1 if replicas[1].is_leader else 2
    assert replicas[second].token == 2
    # This one ends without a word.
    replicas[second]._client = _Deaf()  # type: ignore[assignment]
    await api.until(lambda: replicas[3 - second].is_leader)
    assert not replicas[second].is_leader
    assert replicas[3 - second].token == 3
    for run in runs[1:]:
        await _stop(run)


class _Deaf:
    async def request(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.proves("LE-9")
async def test_the_lead_outlives_a_restart_of_the_api_server(
    api: KubernetesApi, client: ApiServer
) -> None:
    replica = a_replica(client, "a")
    run = asyncio.create_task(replica.run())
    await api.until(lambda: replica.is_leader)
    await api.stop()
    await api.until(lambda: not replica.is_leader)
    await api.start()
    await api.until(lambda: replica.is_leader)
    assert replica.token == 1
    await _stop(run)


@pytest.mark.proves("LK-1", "LK-6", "LK-7")
async def test_locks_that_an_istiod_reads_waits_for_and_gets_back(
    api: KubernetesApi, client: ApiServer
) -> None:
    istiod = Istiod(client, "istiod-abc", ToldClock())
    lease = a_replica(client, "a")
    locks = ElectionLocks(
        client,
        namespace="istio-system",
        identity="istiod-lite",
        revision="",
        clock=SystemClock(),
        settings=LockSettings(duration=4.5, deadline=3.0, renewal=0.2, retry=0.1),
    )
    lead = WriteLead(lease, locks, clock=SystemClock())
    await istiod.attempt()
    runs = [asyncio.create_task(lease.run()), asyncio.create_task(lead.run())]
    await api.until(lambda: bool(locks.held_by_others))
    assert "istiod istiod-abc holds istio-gateway-deployment-default" in lead.reason
    await istiod.release()
    await api.until(lambda: lead.seconds_left > 0)
    await istiod.attempt()
    assert not istiod.writes
    found = api.objects.get("configmaps", ("istio-system", "istio-namespace-controller-election"))
    assert found is not None
    assert record_of(found)["holderIdentity"] == "istiod-lite"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record_of(found)["renewTime"])
    assert record_of(found)["leaderTransitions"] == 1
    for run in runs:
        await _stop(run)
    await istiod.attempt()
    assert istiod.writes_all


@pytest.mark.proves("KY-1", "KY-2", "KY-4")
@pytest.mark.refutes("KY-2")
async def test_keys_in_a_secret(api: KubernetesApi, client: ApiServer) -> None:
    world = World()
    await world.replica().look()
    store = SecretKeyStore(client, namespace="istio-system")
    assert await store.load() is None
    first = await store.save(world.kept, expected=None)
    with pytest.raises(KeyStoreConflictError):
        await store.save(world.kept, expected=None)
    found = api.objects.get("secrets", ("istio-system", "istiod-lite-ca"))
    assert found is not None
    found["metadata"]["annotations"] = {"team": "mesh"}
    changed = api.objects.write("secrets", ("istio-system", "istiod-lite-ca"), {**found, "x": 1})
    with pytest.raises(KeyStoreConflictError):
        await store.save(world.kept, expected=first)
    await store.save(world.kept, expected=changed["metadata"]["resourceVersion"])
    kept = await store.load()
    assert kept is not None
    assert kept.content.authorities == world.kept.authorities
    found = api.objects.get("secrets", ("istio-system", "istiod-lite-ca"))
    assert found is not None
    assert found["metadata"]["annotations"] == {"team": "mesh"}
    api.denied.add(("get", "secrets"))
    with pytest.raises(KeyStoreError, match="403"):
        await store.load()


async def test_tokens_are_reviewed(api: KubernetesApi, client: ApiServer) -> None:
    api.reviews["good"] = a_status()
    reviews = ClusterTokenReviews(client)
    assert await reviews.review("good", ["istio-ca"]) == a_status()
    assert (await reviews.review("bad", ["istio-ca"]))["authenticated"] is False
    api.denied.add(("create", "tokenreviews"))
    with pytest.raises(ReviewError, match="403"):
        await reviews.review("good", ["istio-ca"])


@pytest.mark.proves("WR-1", "WR-2", "WR-4", "WR-5", "WR-6")
@pytest.mark.refutes("WR-4")
async def test_differences_are_applied(api: KubernetesApi, client: ApiServer) -> None:
    ours, theirs = (Applier(client, manager=name, lead=Lead()) for name in ("ours", "theirs"))

    async def apply(applier: Applier, /, is_forced: bool = False, **data: str) -> Outcome:
        applied = await applier.apply(CONFIG_MAP, a_map(**data), is_forced=is_forced)
        return applied.outcome

    assert await apply(ours, a="1", b="2") is Outcome.WRITTEN
    assert await apply(Applier(client, manager="ours", lead=Lead()), a="1", b="2") is (
        Outcome.UNCHANGED
    )
    assert await apply(theirs, c="3") is Outcome.WRITTEN
    assert await apply(theirs, c="3", a="9") is Outcome.CONFLICT
    assert await apply(ours, b="2") is Outcome.WRITTEN
    found = api.objects.get("configmaps", ("shop", "m"))
    assert found is not None
    assert found["data"] == {"b": "2", "c": "3"}
    assert await apply(theirs, is_forced=True, b="7", c="3") is Outcome.WRITTEN
    api.denied.add(("patch", "configmaps"))
    assert await apply(ours, b="8") is Outcome.FORBIDDEN
    api.denied.clear()
    api.objects.delete("namespaces", ("", "shop"))
    assert await apply(ours, b="8") is Outcome.GONE


@pytest.mark.proves("WR-1")
async def test_conditions_are_applied_beside_those_of_others(
    api: KubernetesApi, client: ApiServer
) -> None:
    api.objects.define_all()
    api.objects.write("gateways", ("shop", "w"), {"spec": {}})
    target = Target(
        api_version="gateway.networking.k8s.io/v1", plural="gateways", namespace="shop", name="w"
    )

    async def apply(manager: str, status: str) -> Outcome:
        wanted = {
            "apiVersion": target.api_version,
            "kind": "Gateway",
            "metadata": {"name": "w", "namespace": "shop"},
            "status": {"conditions": [{"type": manager, "status": status, "reason": "R"}]},
        }
        applier = Applier(client, manager=manager, lead=Lead())
        return (await applier.apply(target, wanted, subresource="status")).outcome

    writes = [("A", "True"), ("B", "True"), ("A", "True"), ("A", "False"), ("B", "True")]
    outcomes = [await apply(*each) for each in writes]
    assert outcomes == [
        Outcome.WRITTEN,
        Outcome.WRITTEN,
        Outcome.UNCHANGED,
        Outcome.WRITTEN,
        Outcome.UNCHANGED,
    ]
    found = api.objects.get("gateways", ("shop", "w"))
    assert found is not None
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions == {"A": "False", "B": "True"}


@pytest.mark.proves("RC-1", "RC-3", "RC-6")
@pytest.mark.refutes("RC-3")
async def test_roots_go_into_every_namespace_and_stay_right(
    api: KubernetesApi, client: ApiServer
) -> None:
    world = World()
    roots = Roots(pem="one", version=1)
    keeper = RootCertificates(
        client,
        lead=Lead(),
        namespaces=lambda: [name for _, name in api.objects.held["namespaces"]],
        roots=lambda: roots,
        reports=_Journal(world),
        cluster="c",
        clock=SystemClock(),
        draw=random.Random(1).random,
        pace=SHORTER,
    )
    run = asyncio.create_task(keeper.run())

    def texts() -> dict[str, str]:
        found = api.objects.held["configmaps"].items()
        return {namespace: each["data"]["root-cert.pem"] for (namespace, _), each in found}

    names = ("istio-system", "shop", "kube-system")
    await api.until(lambda: texts() == dict.fromkeys(names, "one"))
    await api.until(lambda: api.watches == 1 and len(world.journal.targets) == 3)
    api.objects.delete("configmaps", ("shop", "istio-ca-root-cert"))
    await api.until(lambda: "shop" in texts())
    roots = Roots(pem="two", version=2)
    await api.until(lambda: texts() == dict.fromkeys(names, "two"))
    await api.until(lambda: _versions(world) == {2})
    api.break_connections()
    writes = api.objects.writes
    asked = api.count("watch", "configmaps")
    await api.until(lambda: api.count("watch", "configmaps") > asked)
    assert api.objects.writes == writes
    api.objects.write("namespaces", ("", "late"), {})
    await api.until(lambda: texts().get("late") == "two")
    api.objects.delete("namespaces", ("", "late"))
    await api.until(lambda: len(world.journal.targets) == 3)
    await _stop(run)


def _versions(world: World) -> set[int]:
    return {each.bundle_version_written for each in world.journal.targets.values()}


class _Journal:
    """The part of the journal that takes reports."""

    def __init__(self, world: World) -> None:
        self.report_target = world.journal.report_target
        self.forget_target = world.journal.forget_target
        self._journal = world.journal

    async def targets(self) -> Any:
        return tuple(self._journal.targets.values())


async def _stop(run: "asyncio.Task[None]") -> None:
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
