"""Who may connect: every situation of policies at node proxies that traffic can show."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import a_cluster, a_document, a_lab, a_service, an_application
from tests.support.lab_policies import (
    Enforcement,
    a_policy,
    operation,
    principal,
    source,
    spiffe,
)

pytestmark = pytest.mark.timeout(60)

CALLS = (
    ("sleep", "http://web.shop/"),
    ("notsleep", "http://web.shop/"),
    ("buyer", "http://web.shop/"),
    ("outsider", "http://web.shop/"),
    ("sleep", "http://web-admin.shop:81/"),
)
"""Two of the namespace, one of another, one without identity, and another port."""
ALL, NOBODY = "+++++", "-----"


async def _verdicts(mesh: Lab) -> str:
    """Return + for each call that was answered and - for each that was refused by policy."""
    found = ""
    for client, url in CALLS:
        answer = await mesh.request(client, url)
        refused = [
            record.error
            for record in answer.records
            if record.direction == "inbound" and record.error.startswith("policy rejection")
        ]
        assert (answer.status == 200) != bool(refused), (client, url, answer)
        found += "+" if answer.status == 200 else "-"
    return found


@asynccontextmanager
async def _a_market(folder: Path) -> AsyncIterator[Enforcement]:
    async with a_lab(
        folder,
        *a_cluster("shop", "market"),
        a_document("Namespace", "outside", ""),
        *an_application("web"),
        a_service("web"),
        a_service("web-admin", selector={"app": "web"}, port=81, target=9090),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
        *an_application("buyer", "market"),
        a_service("buyer", "market"),
        *an_application("outsider", "outside"),
        a_service("outsider", "outside"),
    ) as (mesh, manifests):
        yield Enforcement(mesh, manifests)


def _peers(mode: str, namespace: str = "shop", **rest: Any) -> dict[str, Any]:
    return a_document(
        "PeerAuthentication", "peers", namespace, spec={"mtls": {"mode": mode}, **rest}
    )


WEB: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}}
SLEEP = source(principals=[principal("sleep")])

BY_IDENTITY = {
    "ALLOW by principal": ([a_policy("ALLOW", SLEEP, app="web")], "+---+"),
    "ALLOW by a principal's ending": (
        [a_policy("ALLOW", source(principals=["*/sa/sleep"]), app="web")],
        "+---+",
    ),
    "ALLOW by a principal's beginning": (
        [a_policy("ALLOW", source(principals=[f"{principal('')[:-3]}*"]), app="web")],
        "++--+",
    ),
    "ALLOW anybody with an identity": (
        [a_policy("ALLOW", source(principals=["*"]), app="web")],
        "+++-+",
    ),
    "ALLOW by namespace": ([a_policy("ALLOW", source(namespaces=["shop"]), app="web")], "++--+"),
    "ALLOW by service account": (
        [a_policy("ALLOW", source(serviceAccounts=["market/buyer"]), app="web")],
        "--+--",
    ),
    "DENY by principal": ([a_policy("DENY", SLEEP, app="web")], "-+++-"),
    "DENY by namespace": ([a_policy("DENY", source(namespaces=["market"]), app="web")], "++-++"),
    "DENY all but a principal, whoever has none included": (
        [a_policy("DENY", source(notPrincipals=[principal("sleep")]), app="web")],
        "+---+",
    ),
    "DENY all but a namespace": (
        [a_policy("DENY", source(notNamespaces=["shop"]), app="web")],
        "++--+",
    ),
    "DENY wins over ALLOW": (
        [
            a_policy("ALLOW", source(namespaces=["shop"]), name="allow", app="web"),
            a_policy("DENY", SLEEP, name="deny", app="web"),
        ],
        "-+---",
    ),
    "one ALLOW of several is enough": (
        [
            a_policy("ALLOW", SLEEP, name="one", app="web"),
            a_policy("ALLOW", source(namespaces=["market"]), name="other", app="web"),
        ],
        "+-+-+",
    ),
    "one rule of several is enough": (
        [a_policy("ALLOW", SLEEP, source(namespaces=["market"]), app="web")],
        "+-+-+",
    ),
    "the trust domain is compared": (
        [a_policy("ALLOW", source(principals=["elsewhere/ns/shop/sa/sleep"]), app="web")],
        NOBODY,
    ),
}

BY_PORT = {
    "ALLOW a port of the pod, not of the Service": (
        [a_policy("ALLOW", operation(ports=["8080"]), app="web")],
        "++++-",
    ),
    "a port of the Service is none of the pod": (
        [a_policy("ALLOW", operation(ports=["80"]), app="web")],
        NOBODY,
    ),
    "DENY a port": ([a_policy("DENY", operation(ports=["9090"]), app="web")], "++++-"),
    "DENY all but a port": ([a_policy("DENY", operation(notPorts=["8080"]), app="web")], "++++-"),
    "ALLOW a principal at a port": (
        [a_policy("ALLOW", {**SLEEP, **operation(ports=["8080"])}, app="web")],
        "+----",
    ),
    "ALLOW with a condition on the port": (
        [a_policy("ALLOW", {"when": [{"key": "destination.port", "values": ["9090"]}]}, app="web")],
        "----+",
    ),
}

SCOPES = {
    "a namespace": ([a_policy("DENY", source(namespaces=["market"]))], "++-++"),
    "another namespace": ([a_policy("DENY", {}, namespace="market")], ALL),
    "the mesh": ([a_policy("DENY", SLEEP, namespace="istio-system")], "-+++-"),
    "another application": ([a_policy("DENY", {}, app="sleep")], ALL),
    "a Service is none of node proxies": ([a_policy("DENY", {}, service="web")], ALL),
}

EMPTY = {
    "ALLOW without rules lets nobody in": ([a_policy("ALLOW", app="web")], NOBODY),
    "ALLOW with an empty rule lets everybody in": ([a_policy("ALLOW", {}, app="web")], ALL),
    "DENY without rules keeps nobody out": ([a_policy("DENY", app="web")], ALL),
    "DENY with an empty rule keeps everybody out": ([a_policy("DENY", {}, app="web")], NOBODY),
    "a spec without anything lets nobody in": (
        [a_document("AuthorizationPolicy", "empty", spec={})],
        NOBODY,
    ),
    "DENY as a dry run": ([a_policy("DENY", {}, app="web", dry_run=True)], ALL),
    "ALLOW as a dry run": ([a_policy("ALLOW", SLEEP, app="web", dry_run=True)], ALL),
    "an ALLOW of requests lets no connection in": (
        [a_policy("ALLOW", operation(methods=["GET"]), app="web")],
        NOBODY,
    ),
    "a DENY of requests alone never fires": (
        [a_policy("DENY", {**SLEEP, **operation(methods=["DELETE"])}, app="web")],
        ALL,
    ),
    "a DENY of requests at a port keeps out what comes to it": (
        [a_policy("DENY", {**SLEEP, **operation(methods=["DELETE"], ports=["8080"])}, app="web")],
        "-++++",
    ),
}

PEERS = {
    "PERMISSIVE": ([_peers("PERMISSIVE")], ALL),
    "STRICT for the namespace": ([_peers("STRICT")], "+++-+"),
    "STRICT for the mesh": ([_peers("STRICT", "istio-system")], "+++-+"),
    "STRICT for another namespace": ([_peers("STRICT", "market")], ALL),
    "STRICT for an application": ([_peers("STRICT", **WEB)], "+++-+"),
    "STRICT but for the port": (
        [_peers("STRICT", **WEB, portLevelMtls={"8080": {"mode": "PERMISSIVE"}})],
        ALL,
    ),
    "STRICT for the port": (
        [_peers("PERMISSIVE", **WEB, portLevelMtls={"8080": {"mode": "STRICT"}})],
        "+++-+",
    ),
    "STRICT for another port": (
        [_peers("PERMISSIVE", **WEB, portLevelMtls={"9090": {"mode": "STRICT"}})],
        ALL,
    ),
    "the application's wins over the namespace's": (
        [
            _peers("STRICT"),
            {**_peers("PERMISSIVE", **WEB), "metadata": {"name": "web", "namespace": "shop"}},
        ],
        ALL,
    ),
    "STRICT and ALLOW": ([_peers("STRICT"), a_policy("ALLOW", {}, app="web")], "+++-+"),
}


@pytest.mark.parametrize(
    "situations",
    [BY_IDENTITY, BY_PORT, SCOPES, EMPTY, PEERS],
    ids=["by identity", "by port", "scopes", "empty and dry", "peers"],
)
async def test_who_is_let_in(tmp_path: Path, situations: dict[str, Any]) -> None:
    async with _a_market(tmp_path) as enforcement:
        assert await _verdicts(enforcement.mesh) == ALL
        found = {}
        for name, (documents, _) in situations.items():
            await enforcement.at_nodes(*documents)
            found[name] = await _verdicts(enforcement.mesh)
        assert found == {name: expected for name, (_, expected) in situations.items()}
        await enforcement.at_nodes()
        assert await _verdicts(enforcement.mesh) == ALL


async def test_addresses_are_those_of_the_pods(tmp_path: Path) -> None:
    async with _a_market(tmp_path) as enforcement:
        sleep, outsider, web = (
            f"{enforcement.address(name)}" for name in ("sleep", "outsider", "web")
        )
        situations: dict[str, tuple[list[dict[str, Any]], str]] = {
            "ALLOW an address": ([a_policy("ALLOW", source(ipBlocks=[sleep]), app="web")], "+---+"),
            "ALLOW a block": (
                [a_policy("ALLOW", source(ipBlocks=["127.0.0.0/8"]), app="web")],
                ALL,
            ),
            "ALLOW another block": (
                [a_policy("ALLOW", source(ipBlocks=["10.0.0.0/8", "fd00::/8"]), app="web")],
                NOBODY,
            ),
            "DENY an address that speaks plaintext": (
                [a_policy("DENY", source(ipBlocks=[outsider]), app="web")],
                "+++-+",
            ),
            "DENY all but an address": (
                [a_policy("DENY", source(notIpBlocks=[f"{sleep}/32"]), app="web")],
                "+---+",
            ),
            "ALLOW the pod's own address": (
                [
                    a_policy(
                        "ALLOW", {"when": [{"key": "destination.ip", "values": [web]}]}, app="web"
                    )
                ],
                ALL,
            ),
        }
        for name, (documents, expected) in situations.items():
            await enforcement.at_nodes(*documents)
            assert (name, await _verdicts(enforcement.mesh)) == (name, expected)


async def test_both_ends_tell_of_a_connection_and_of_why_there_was_none(tmp_path: Path) -> None:
    async with _a_market(tmp_path) as enforcement:
        mesh = enforcement.mesh
        await enforcement.at_nodes(a_policy("DENY", SLEEP, name="no-sleep", app="web"))
        refused = {
            each.direction: each for each in (await mesh.request("sleep", "http://web/")).records
        }
        assert refused["inbound"].error == "policy rejection: denied by a policy (shop/no-sleep)"
        assert refused["outbound"].error.endswith("was answered 401")
        told = {
            each.direction: each for each in (await mesh.request("notsleep", "http://web/")).records
        }
        for record in told.values():
            assert (record.source_identity, record.destination_identity) == (
                spiffe("notsleep"),
                spiffe("web"),
            )
            assert (record.service, record.error) == ("web.shop.svc.cluster.local", "")
            assert record.duration is not None
        assert told["inbound"].bytes_sent == told["outbound"].bytes_received > 0
        assert told["inbound"].bytes_received == told["outbound"].bytes_sent > 0
        plain = (await mesh.request("outsider", "http://web.shop/")).records
        assert [(each.direction, each.source_identity, each.hbone) for each in plain] == [
            ("inbound", "", ""),
        ]
