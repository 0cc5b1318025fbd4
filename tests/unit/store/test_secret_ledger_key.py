import base64
from typing import Any

import pytest

from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.store.chain import LedgerKey
from controlplane.store.ledger_key import LedgerKeyAwayError, LedgerKeyError, read_key_file
from controlplane.store.secret_ledger_key import SecretLedgerKey
from tests.support.cluster_memory import ClusterMemory, a_refusal

PATH = "/api/v1/namespaces/istio-system/secrets/istiod-lite-ledger"


def a_store(cluster: ClusterMemory) -> SecretLedgerKey:
    return SecretLedgerKey(cluster, namespace="istio-system")


def code(key: LedgerKey | None) -> str:
    assert key is not None
    return key.code("test", {"a": 1})


@pytest.mark.proves("LG-34")
async def test_the_first_makes_the_key_and_all_others_read_it() -> None:
    cluster = ClusterMemory()
    assert await a_store(cluster).read() is None
    made = code(await a_store(cluster).read_or_make())
    assert code(await a_store(cluster).read_or_make()) == made
    assert code(await a_store(cluster).read()) == made
    assert [asked.method for asked in cluster.writes] == ["POST"]
    assert cluster.objects[PATH]["immutable"] is True


@pytest.mark.refutes("LG-34")
async def test_of_two_who_make_one_the_first_counts() -> None:
    cluster = ClusterMemory()
    first = code(await a_store(cluster).read_or_make())
    # Not there when it was looked for, there when it was made.
    cluster.fail("GET", a_refusal(404, "NotFound"))
    assert code(await a_store(cluster).read_or_make()) == first
    assert code(await a_store(ClusterMemory()).read_or_make()) != first


async def test_a_secret_that_comes_and_goes_is_not_waited_for_here() -> None:
    cluster = ClusterMemory()
    await a_store(cluster).read_or_make()
    cluster.fail("GET", *[a_refusal(404, "NotFound")] * 3)
    with pytest.raises(LedgerKeyAwayError, match="comes and goes"):
        await a_store(cluster).read_or_make()


@pytest.mark.proves("LG-35")
@pytest.mark.parametrize(
    "change",
    [
        {"type": "Opaque"},
        {"data": None},
        {"data": {}},
        {"data": {"ledger.key": "%"}},
        {"data": {"ledger.key": base64.b64encode(b"zz").decode()}},
        {"data": {"ledger.key": base64.b64encode(b"00" * 31).decode()}},
        {"data": {"ledger.key": "c2VjcmV0w7w="}},
    ],
)
async def test_what_is_no_key_is_left_alone_and_not_shown(change: dict[str, Any]) -> None:
    cluster = ClusterMemory()
    await a_store(cluster).read_or_make()
    cluster.put(PATH, {**cluster.objects[PATH], **change})
    before, writes = cluster.objects[PATH], len(cluster.writes)
    with pytest.raises(LedgerKeyError, match="Secret istio-system/istiod-lite-ledger") as raised:
        await a_store(cluster).read_or_make()
    assert not isinstance(raised.value, LedgerKeyAwayError)
    assert "zz" not in str(raised.value)
    assert (cluster.objects[PATH], len(cluster.writes)) == (before, writes)


@pytest.mark.refutes("LG-35")
async def test_what_others_put_beside_the_key_does_no_harm() -> None:
    cluster = ClusterMemory()
    made = code(await a_store(cluster).read_or_make())
    found = cluster.objects[PATH]
    cluster.put(PATH, {**found, "data": {**found["data"], "more": "AA=="}})
    assert code(await a_store(cluster).read_or_make()) == made


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_cluster_that_does_not_answer_is_told_from_one_that_holds_something_else(
    method: str,
) -> None:
    cluster = ClusterMemory()
    cluster.fail(method, ClusterUnavailableError("no answer in time"), a_refusal(403, "Forbidden"))
    for reason in ("no answer in time", "HTTP status 403"):
        with pytest.raises(LedgerKeyAwayError, match=reason) as raised:
            await a_store(cluster).read_or_make()
        assert raised.value.__suppress_context__


def test_a_file_given_is_the_key_and_is_never_made(tmp_path: Any) -> None:
    path = tmp_path / "given"
    with pytest.raises(LedgerKeyError, match="No such file"):
        read_key_file(path)
    assert not path.exists()
    path.write_text("ab" * 32 + "\n")
    path.chmod(0o600)
    assert code(read_key_file(path)) == code(LedgerKey(bytes.fromhex("ab" * 32)))
