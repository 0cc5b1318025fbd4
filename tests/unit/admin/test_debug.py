"""Debug endpoints as tools of istiod ask them."""

import pytest

from controlplane.admin.debug.documents import HELP
from tests.support.admin import a_client, bookinfo
from tests.support.two_teams import OWN, two_teams


@pytest.mark.proves("AM-40")
async def test_syncz_has_the_keys_that_tools_read() -> None:
    async with a_client(bookinfo(nodes=["node-1"]).application()) as client:
        assert (await client.get("/debug/syncz")).json() == [
            {
                "cluster_id": "Kubernetes",
                "proxy": "proxy-1.istio-system",
                "proxy_type": "ztunnel",
                "proxy_version": "1.30.0",
                "istio_version": "1.30.0",
                "resources": {
                    "type.googleapis.com/istio.workload.Address": {
                        "sent": "1",
                        "acked": "1",
                        "sentTime": "2026-01-01T00:16:41.000Z",
                        "lastError": "",
                    },
                    "type.googleapis.com/istio.security.Authorization": {
                        "sent": "1.0",
                        "acked": "1.0",
                        "sentTime": "2026-01-01T00:16:41.000Z",
                        "lastError": "",
                    },
                },
            }
        ]


@pytest.mark.refutes("AM-40")
async def test_syncz_of_nobody_is_empty() -> None:
    async with a_client(bookinfo(nodes=[]).application()) as client:
        assert (await client.get("/debug/syncz")).json() == []
        assert (await client.get("/debug/syncz?namespace=nowhere")).json() == []


@pytest.mark.proves("AM-41")
@pytest.mark.parametrize("name", sorted(set(HELP) - {"config_dump"}))
async def test_every_endpoint_can_be_read_by_people(name: str) -> None:
    async with a_client(two_teams().application()) as client:
        pretty = await client.get(f"/debug/{name}?pretty")
        compact = await client.get(f"/debug/{name}")
    assert pretty.json() == compact.json()
    assert "\n  " in pretty.text
    assert compact.json()


@pytest.mark.refutes("AM-41")
async def test_without_pretty_nothing_is_indented() -> None:
    async with a_client(two_teams().application()) as client:
        assert "\n " not in (await client.get("/debug/ambientz")).text


@pytest.mark.proves("AM-42")
async def test_one_client_is_picked_by_a_part_of_its_id() -> None:
    async with a_client(two_teams().application()) as client:
        assert (await client.get("/debug/config_dump")).status_code == 400
        missing = await client.get("/debug/syncz?proxyID=nobody")
        assert missing.status_code == 404
        picked = (await client.get(f"/debug/syncz?proxyID=proxy-1.{OWN}")).json()
        assert [each["proxy"] for each in picked] == [f"proxy-1.{OWN}"]


@pytest.mark.refutes("AM-42")
async def test_a_dump_holds_the_types_asked_for() -> None:
    async with a_client(two_teams().application()) as client:

        async def kinds(types: str) -> set[str]:
            answer = await client.get(f"/debug/config_dump?proxyID=proxy-1.{OWN}&types={types}")
            assert answer.status_code == 200
            return {each["@type"].rpartition(".")[2] for each in answer.json()["configs"]}

        assert await kinds("wads") == {"Authorization"}
        assert await kinds("WDS") == {"Address"}
        assert await kinds("") == {"Address", "Authorization"}
        unknown = await client.get(f"/debug/config_dump?proxyID=proxy-1.{OWN}&types=cds")
        assert unknown.status_code == 400


@pytest.mark.proves("AM-43")
async def test_what_is_listed_is_answered() -> None:
    async with a_client(two_teams().application()) as client:
        listed = (await client.get("/debug/list")).json()
        index = (await client.get("/debug")).text
        for name in listed:
            answer = await client.get(f"/debug/{name}?proxyID=proxy-1.{OWN}")
            assert answer.status_code == 200, name
            assert f'href="/debug/{name}"' in index
    assert listed == sorted(HELP)


@pytest.mark.refutes("AM-43")
async def test_what_is_not_listed_is_not_answered() -> None:
    async with a_client(two_teams().application()) as client:
        for name in ("pprof", "inject", "force_disconnect", "secretz"):
            assert (await client.get(f"/debug/{name}")).status_code == 404


async def test_connections_count_their_clients() -> None:
    async with a_client(two_teams().application()) as client:
        found = (await client.get("/debug/connections")).json()
        watched = (await client.get("/debug/adsz")).json()
    assert found["totalClients"] == len(found["clients"]) == 3
    assert watched["clients"][0]["watches"] == {
        "type.googleapis.com/istio.workload.Address": ["*"],
        "type.googleapis.com/istio.security.Authorization": ["*"],
    }


async def test_endpoints_are_told_by_port() -> None:
    async with a_client(two_teams().application()) as client:
        found = (await client.get("/debug/endpointz")).json()
    hostname = f"{OWN}-shop.{OWN}.svc.cluster.local"
    (shop,) = [each for each in found if each["svc"] == f"{hostname}:80"]
    assert shop["ep"][0]["addresses"] == ["10.1.1.1"]
    assert shop["ep"][0]["port"] == 8080
