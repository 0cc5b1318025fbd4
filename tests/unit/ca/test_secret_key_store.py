import base64
import json
from dataclasses import replace

import pytest

from controlplane.ca.authority_set import KeptAuthorities, Orders
from controlplane.ca.errors import KeyStoreConflictError, KeyStoreError
from controlplane.ca.key_store import KeyStore
from controlplane.ca.secret_key_store import SecretKeyStore
from controlplane.cluster.client import Answer
from controlplane.cluster.errors import ClusterUnavailableError
from tests.support.authority_stores import World
from tests.support.cluster_memory import ClusterMemory, a_refusal

PATH = "/api/v1/namespaces/istio-system/secrets/istiod-lite-ca"


def a_store(cluster: ClusterMemory) -> KeyStore:
    return SecretKeyStore(cluster, namespace="istio-system")


async def some_content() -> KeptAuthorities:
    world = World()
    await world.replica().look()
    return world.kept


@pytest.mark.proves("KY-1", "KY-2", "AT-8")
async def test_what_is_saved_is_loaded() -> None:
    cluster = ClusterMemory()
    store = a_store(cluster)
    assert await store.load() is None
    content = await some_content()
    first = await store.save(content, expected=None)
    changed = replace(content, orders=Orders(is_paused=True))
    second = await store.save(changed, expected=first)
    kept = await a_store(cluster).load()
    assert kept is not None
    assert kept.revision == second != first
    assert kept.content.authorities == content.authorities
    assert kept.content.orders.is_paused
    assert kept.content.keys.keys() == content.keys.keys()
    assert cluster.objects[PATH]["type"] == "istiod-lite.io/authorities"


@pytest.mark.refutes("KY-2", "AT-8")
async def test_a_write_based_on_something_older_is_refused() -> None:
    cluster = ClusterMemory()
    store, other = a_store(cluster), a_store(cluster)
    content = await some_content()
    revision = await store.save(content, expected=None)
    later = await other.save(content, expected=revision)
    for expected in (revision, None, "7"):
        with pytest.raises(KeyStoreConflictError):
            await store.save(content, expected=expected)
    # Between the look and the write.
    cluster.fail("PUT", a_refusal(409, "Conflict"), a_refusal(404, "NotFound"))
    for _ in range(2):
        with pytest.raises(KeyStoreConflictError):
            await store.save(content, expected=later)
    kept = await store.load()
    assert kept is not None
    assert kept.revision == later
    del cluster.objects[PATH]
    with pytest.raises(KeyStoreConflictError):
        await store.save(content, expected=later)


@pytest.mark.refutes("KY-1")
@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_a_refusal_does_not_mean_that_nothing_is_kept(status: int) -> None:
    cluster = ClusterMemory()
    cluster.fail("GET", a_refusal(status, "Forbidden", message="canary"))
    with pytest.raises(KeyStoreError, match=str(status)) as caught:
        await a_store(cluster).load()
    assert "canary" not in str(caught.value)


@pytest.mark.proves("KY-3")
async def test_what_is_not_ours_is_neither_used_nor_written_over() -> None:
    cluster = ClusterMemory()
    content = await some_content()
    await a_store(cluster).save(content, expected=None)
    ours = cluster.objects[PATH]
    for change in ({"type": "Opaque"}, {"data": {}}, {"data": None}):
        found = cluster.put(PATH, {**ours, **change})
        before = len(cluster.writes)
        with pytest.raises(KeyStoreError, match="istiod-lite-ca"):
            await a_store(cluster).load()
        with pytest.raises(KeyStoreError, match="istiod-lite-ca"):
            await a_store(cluster).save(content, expected=found["metadata"]["resourceVersion"])
        assert len(cluster.writes) == before


@pytest.mark.refutes("KY-3")
async def test_ours_is_written_over() -> None:
    cluster = ClusterMemory()
    content = await some_content()
    revision = await a_store(cluster).save(content, expected=None)
    assert await a_store(cluster).save(content, expected=revision) != revision


@pytest.mark.proves("KY-4")
@pytest.mark.refutes("KY-4")
async def test_what_others_put_on_it_stays_but_other_entries_do_not() -> None:
    cluster = ClusterMemory()
    store = a_store(cluster)
    content = await some_content()
    await store.save(content, expected=None)
    found = cluster.objects[PATH]
    found["metadata"]["annotations"] = {"backup": "never"}
    found["data"]["other"] = "eA=="
    found = cluster.put(PATH, found)
    await store.save(content, expected=found["metadata"]["resourceVersion"])
    assert cluster.objects[PATH]["metadata"]["annotations"] == {"backup": "never"}
    assert set(cluster.objects[PATH]["data"]) == {"authorities.json"}


@pytest.mark.proves("KY-5", "AT-9")
async def test_no_error_holds_what_was_sent() -> None:
    cluster = ClusterMemory()
    content = await some_content()
    cluster.fail(
        "POST",
        a_refusal(422, "Invalid", message="data: canary"),
        ClusterUnavailableError("no answer"),
        Answer(200, b"canary"),
    )
    for _ in range(3):
        with pytest.raises(KeyStoreError, match="secret:istio-system/istiod-lite-ca") as caught:
            await a_store(cluster).save(content, expected=None)
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.refutes("KY-5")
async def test_damaged_entries_are_named_and_not_quoted() -> None:
    cluster = ClusterMemory()
    await a_store(cluster).save(await some_content(), expected=None)
    for text in (b"canary", json.dumps({"format": 1}).encode()):
        entry = {"authorities.json": base64.b64encode(text).decode()}
        cluster.put(PATH, {**cluster.objects[PATH], "data": entry})
        with pytest.raises(KeyStoreError) as caught:
            await a_store(cluster).load()
        assert "canary" not in str(caught.value)


async def test_more_than_a_secret_holds_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controlplane.ca.secret_key_store._LARGEST", 100)
    cluster = ClusterMemory()
    with pytest.raises(KeyStoreError, match="do not fit"):
        await a_store(cluster).save(await some_content(), expected=None)
    assert not cluster.asked
