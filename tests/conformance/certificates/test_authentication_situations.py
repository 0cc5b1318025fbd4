"""The situations of docs/protocol/authentication.md, by their numbers.

Tokens are reviewed over HTTP by a double of the TokenReview API; the rest is what a server runs.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.authentication.review_client import HttpTokenReviews
from controlplane.ca import node_authorization as reasons
from controlplane.ca.decisions import Decisions
from controlplane.ca.errors import Reply
from controlplane.ca.limits import RateLimits
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.model.identity import Identity
from controlplane.model.names import Name
from controlplane.model.resident import Resident
from controlplane.snapshots.residents import Residents
from controlplane.xds.errors import DiscoveryError, ForbiddenError, MalformedRequestError
from controlplane.xds.identity import Access
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support import discovery
from tests.support.authentication import (
    CLUSTER,
    REJECTED,
    TokenReviewApi,
    a_resident,
    a_status,
    a_token,
    an_authenticator,
    headers,
    token_review_api,
)
from tests.support.dataflow_time import VirtualClock, let_run
from tests.support.issuing import PEER, SHOP, Desk, SetClock, a_request, chain_of, refusal_of

PAGE = Path(__file__).parents[3] / "docs" / "protocol" / "authentication.md"
TRUSTED = frozenset({Name("istio-system", "ztunnel")})
ZTUNNEL = a_resident()
CART = a_resident("cart-1", "shop", "cart")
TOKEN = a_token("ztunnel-a")
APPLICATION = a_token("cart-1")
ELSEWHERE = "ipv4:10.0.0.9:4711"


class Front:
    """A desk that authenticates and authorises as a server does."""

    def __init__(
        self,
        api: TokenReviewApi,
        reviews: HttpTokenReviews,
        *residents: Resident,
        trusted: frozenset[Name] = TRUSTED,
        clock: Any = None,
        limits: RateLimits | None = None,
        **settings: Any,
    ) -> None:
        self.api = api
        self.clock = clock or SetClock()
        self.residents = Residents(self.clock)
        self.put(*(residents or (ZTUNNEL, CART)))
        self.authenticator = an_authenticator(reviews, self.clock, **settings)
        self.desk = Desk(clock=self.clock, authenticator=self.authenticator, limits=limits)
        nodes = ResidentAuthorizer(
            {CLUSTER: self.residents},
            NodeSettings(
                trusted=trusted, control_planes=frozenset({Name("istio-system", "istiod")})
            ),
            self.clock,
        )
        self.desk.requests._decisions = Decisions(nodes, trust_domain="cluster.local")
        api.statuses[TOKEN] = a_status(node="node-a")
        api.statuses[APPLICATION] = a_status("shop/cart", pod="cart-1", uid=CART.uid)

    def put(self, *residents: Resident) -> None:
        self.residents.stage((each.key, each) for each in residents)
        self.residents.publish()

    async def ask(
        self, token: str = TOKEN, named: Identity | None = SHOP, **others: str
    ) -> bytes | Reply:
        request = a_request(named=None if named is None else str(named))
        return await self.desk.ask(request, headers(token, **others))

    async def refused(self, *arguments: Any, **others: Any) -> tuple[str, str, str]:
        """The status and text of the reply, and the reason in the ledger."""
        reply = refusal_of(await self.ask(*arguments, **others))
        assert not self.desk.ledger.issued
        return reply.status, reply.text, self.desk.ledger.refused[-1].reason


@asynccontextmanager
async def front(*residents: Resident, **options: Any) -> AsyncIterator[Front]:
    async with token_review_api() as api:
        reviews = HttpTokenReviews(api.url)
        try:
            yield Front(api, reviews, *residents, **options)
        finally:
            await reviews.close()


def unauthenticated(reason: str) -> tuple[str, str, str]:
    return "UNAUTHENTICATED", "request authenticate failure", reason


def denied(reason: str) -> tuple[str, str, str]:
    return "UNAUTHENTICATED", "request impersonation authentication failure", reason


def test_every_situation_of_the_page_has_a_test() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    tested = re.findall(r"def test_situation_(\d+)_", Path(__file__).read_text())
    assert sorted(listed) == sorted(set(tested))


async def test_situation_5_credentials_missing_misspelt_or_empty() -> None:
    async with front() as at:
        for metadata in ({}, {"authorization": (f"bearer {TOKEN}",)}, headers("")):
            reply = refusal_of(await at.desk.ask(headers=metadata))
            assert (reply.status, reply.text) == unauthenticated("")[:2]
        assert at.api.asked == []


async def test_situation_6_token_for_others() -> None:
    async with front() as at:
        assert await at.refused(a_token(aud="api")) == unauthenticated("wrong-audience")
        assert at.api.asked == []


async def test_situation_7_expired_token_and_token_of_a_deleted_pod() -> None:
    async with front() as at:
        expired = a_token(exp=at.clock.now().timestamp() - 61)
        assert await at.refused(expired) == unauthenticated("expired")
        gone = a_token("gone")
        at.api.statuses[gone] = REJECTED
        assert await at.refused(gone) == unauthenticated("rejected")


async def test_situation_7_token_remembered_while_its_pod_is_deleted() -> None:
    async with front() as at:
        at.residents.on_gone(lambda uid: at.authenticator.forget_pod(CLUSTER, uid))
        chain_of(await at.ask())
        at.api.statuses[TOKEN] = REJECTED
        chain_of(await at.ask())
        at.residents.stage([(ZTUNNEL.key, None)])
        at.residents.publish()
        reply = refusal_of(await at.ask())
        assert (reply.status, reply.text) == unauthenticated("")[:2]


@pytest.mark.parametrize("audiences", [None, (), ("api",)])
async def test_situation_8_audience_not_confirmed(audiences: Any) -> None:
    async with front() as at:
        at.api.statuses[TOKEN] = a_status(audiences=audiences)
        assert await at.refused() == unauthenticated("audience-not-confirmed")


async def test_situation_9_no_service_account() -> None:
    async with front() as at:
        at.api.statuses[TOKEN] = a_status(groups=("system:authenticated",))
        assert await at.refused() == unauthenticated("not-a-service-account")


@pytest.mark.parametrize(
    ("code", "body"), [(500, None), (403, None), (429, b""), (200, b"{"), (200, b'{"status": 1}')]
)
async def test_situation_10_api_server_fails(code: int, body: bytes | None) -> None:
    async with front() as at:
        at.api.code, at.api.body = code, body
        status, text, reason = await at.refused()
        assert (status, reason) == ("UNAVAILABLE", "review-failed")
        assert TOKEN not in text
        at.api.code, at.api.body = 201, None
        chain_of(await at.ask())


async def test_situation_10_api_server_does_not_answer() -> None:
    async with front(timeout=0.05) as at:
        at.api.answers = False
        status, _, reason = await at.refused()
        assert (status, reason) == ("UNAVAILABLE", "review-timed-out")


async def test_situation_10_api_server_cannot_be_reached() -> None:
    async with token_review_api() as api:
        pass
    reviews = HttpTokenReviews(api.url)
    status, _, reason = await Front(api, reviews).refused()
    await reviews.close()
    assert (status, reason) == ("UNAVAILABLE", "review-failed")


async def test_situation_11_unknown_cluster() -> None:
    async with front() as at:
        refused = await at.refused(clusterid="somewhere")
        assert refused == unauthenticated("unknown-cluster")


async def test_situation_12_no_cluster_and_an_identity_by_name() -> None:
    async with front() as at:
        chain_of(await at.ask())
        chain_of(await at.ask(clusterid=""))
        assert {each.cluster_id for each in at.desk.ledger.issued} == {CLUSTER}


async def test_situation_14_account_that_is_not_trusted() -> None:
    async with front() as at:
        assert await at.refused(APPLICATION) == denied(reasons.UNTRUSTED)
        chain_of(await at.ask(APPLICATION, None))


async def test_situation_15_nobody_is_trusted() -> None:
    async with front(trusted=frozenset()) as at:
        assert await at.refused() == denied(reasons.UNTRUSTED)


async def test_situation_16_pod_on_another_node() -> None:
    async with front(ZTUNNEL, replace(CART, node="node-b")) as at:
        assert await at.refused() == denied(reasons.NOT_ON_NODE)


async def test_situation_17_pods_on_both_nodes() -> None:
    async with front(ZTUNNEL, CART, a_resident("cart-2", "shop", "cart", node="node-b")) as at:
        chain_of(await at.ask())


async def test_situation_23_node_proxy_made_again() -> None:
    async with front(replace(ZTUNNEL, uid="made-again"), CART) as at:
        assert await at.refused() == denied(reasons.OTHER_UID)


async def test_situation_24_token_bound_to_no_pod() -> None:
    async with front() as at:
        at.api.statuses[TOKEN] = a_status(pod="", uid="")
        assert await at.refused() == denied(reasons.UNBOUND)


async def test_situation_25_client_certificate_instead_of_a_token() -> None:
    # None is asked for, so nothing of one arrives but headers that claim it.
    claimed = {"x-forwarded-client-cert": ("URI=spiffe://cluster.local/ns/istio-system/sa/z",)}
    async with front() as at:
        reply = refusal_of(await at.desk.ask(headers=claimed))
        assert (reply.status, reply.text) == unauthenticated("")[:2]


@pytest.mark.parametrize(("phase", "ago"), [("Failed", None), ("Succeeded", 61)])
async def test_situation_26_pod_that_ended(phase: str, ago: float | None) -> None:
    now = SetClock().now().timestamp()
    ended = replace(CART, phase=phase, ended_at=None if ago is None else now - ago)
    async with front(ZTUNNEL, ended) as at:
        assert await at.refused() == denied(reasons.NO_LIVE_POD)


async def test_situation_27_pod_that_becomes_known_500_ms_later() -> None:
    clock = VirtualClock()
    async with front(ZTUNNEL, clock=clock) as at:
        # The token is reviewed and remembered, so that only the pod is waited for afterwards.
        await at.authenticator.authenticate(headers(TOKEN), PEER)
        asking = asyncio.create_task(at.ask())
        await clock.advance(0.5)
        assert not asking.done()
        at.put(CART)
        await let_run()
        chain_of(await asking)


async def test_situation_28_control_plane_on_the_node() -> None:
    istiod = a_resident("istiod-1", "istio-system", "istiod")
    identity = Identity(
        trust_domain="cluster.local", namespace="istio-system", service_account="istiod"
    )
    async with front(ZTUNNEL, istiod) as at:
        assert await at.refused(TOKEN, identity) == denied(reasons.PROTECTED)


async def test_situation_40_flood_of_made_up_tokens() -> None:
    async with front() as at:
        statuses = [
            refusal_of(
                await at.desk.requests.answer(a_request(), headers(a_token(f"{n}")), ELSEWHERE)
            ).status
            for n in range(150)
        ]
        assert statuses.count("UNAUTHENTICATED") == 100
        assert statuses.count("RESOURCE_EXHAUSTED") == 50
        assert len(at.api.asked) == 100
        chain_of(await at.ask())


async def test_situation_40_flood_from_one_node_proxy() -> None:
    limits = RateLimits(burst_per_caller=5)
    other = a_resident("ztunnel-b", node="node-b")
    async with front(
        ZTUNNEL, CART, other, replace(CART, name="cart-2", node="node-b"), limits=limits
    ) as at:
        answers = [await at.ask() for _ in range(20)]
        refused = [each.status for each in answers if isinstance(each, Reply)]
        assert len(refused) >= 10
        assert set(refused) == {"RESOURCE_EXHAUSTED"}
        token = a_token("ztunnel-b")
        at.api.statuses[token] = a_status(pod="ztunnel-b", uid=other.uid, node="node-b")
        chain_of(await at.ask(token))
        assert len(at.api.asked) == 2


async def introduce(token: str, node: Any, **options: Any) -> None:
    """Open a discovery stream: authenticate its headers, then read its first request."""
    async with front(**options) as at:
        access = Access(
            authenticator=at.authenticator, trusted=TRUSTED, residents={CLUSTER: at.residents}
        )
        caller = await access.authenticate(headers(token), PEER)
        session = Session(
            discovery.a_catalog(),
            XdsSettings(),
            at.clock,
            authorize=lambda each: access.authorize(caller, each),
        )
        session.receive(node)


def node(kind: str = "ztunnel", namespace: str = "istio-system", **metadata: str) -> Any:
    return discovery.introduced(
        discovery.a_request(), kind=kind, namespace=namespace, node_name="node-a", **metadata
    )


async def test_situation_48_discovery_for_another_namespace() -> None:
    await introduce(TOKEN, node())
    with pytest.raises(ForbiddenError, match="authorization failed"):
        await introduce(TOKEN, node(namespace="bank"))


async def test_situation_49_discovery_for_another_service_account() -> None:
    await introduce(TOKEN, node(SERVICE_ACCOUNT="ztunnel"))
    with pytest.raises(ForbiddenError, match="authorization failed"):
        await introduce(TOKEN, node(SERVICE_ACCOUNT="other"))


async def test_situation_50_node_proxy_with_the_token_of_an_application() -> None:
    await introduce(TOKEN, node())
    with pytest.raises(ForbiddenError, match="not the account of a node proxy") as caught:
        await introduce(APPLICATION, node(namespace="shop"))
    assert caught.value.status == "PERMISSION_DENIED"


async def test_situation_51_discovery_without_a_node() -> None:
    with pytest.raises(MalformedRequestError, match="missing node information") as caught:
        await introduce(TOKEN, discovery.a_request())
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_discovery_without_credentials_reads_nothing() -> None:
    with pytest.raises(DiscoveryError, match="request authenticate failure") as caught:
        await introduce("", discovery.a_request())
    assert caught.value.status == "UNAUTHENTICATED"
