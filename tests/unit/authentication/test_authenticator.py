"""Authentication of whole requests: nothing dear happens before everything cheap is in order."""

from typing import Any

import pytest

from controlplane.authentication.clusters import Clusters
from controlplane.authentication.errors import AuthenticationError, Reason
from tests.support.authentication import (
    PEER,
    Reviews,
    a_status,
    a_token,
    an_authenticator,
    headers,
)
from tests.support.dataflow_time import VirtualClock

TOKEN = a_token()


async def test_a_caller_is_told_with_the_expiry_of_its_token() -> None:
    authenticator = an_authenticator(Reviews(default=a_status()), VirtualClock())
    caller = await authenticator.authenticate(headers(TOKEN), PEER)
    assert (caller.pod_name, caller.expires_at) == ("ztunnel-a", 4_000_000_000)


@pytest.mark.proves("AU-6")
@pytest.mark.refutes("AU-11", "AU-12")
@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, Reason.NO_CREDENTIALS),
        ({"authorization": ("Bearer a", "Bearer b")}, Reason.SEVERAL_CREDENTIALS),
        ({"authorization": (f"bearer {TOKEN}",)}, Reason.NOT_BEARER),
        (headers("abc"), Reason.NOT_A_JWT),
        (headers(a_token(aud="api")), Reason.WRONG_AUDIENCE),
        (headers(a_token(exp=5)), Reason.EXPIRED),
        ({**headers(TOKEN), "clusterid": ("one", "one")}, Reason.SEVERAL_CLUSTERS),
        (headers(TOKEN, clusterid="three"), Reason.UNKNOWN_CLUSTER),
        (headers(TOKEN, clusterid="unreachable"), Reason.UNKNOWN_CLUSTER),
    ],
)
async def test_what_is_refused_cheaply_is_not_reviewed(metadata: Any, reason: Reason) -> None:
    reviews = Reviews(default=a_status())
    clusters = Clusters(primary="Kubernetes", others=frozenset({"unreachable"}))
    authenticator = an_authenticator(reviews, VirtualClock(), clusters=clusters)
    with pytest.raises(AuthenticationError) as caught:
        await authenticator.authenticate(metadata, PEER)
    assert caught.value.reason is reason
    assert reviews.asked == []


@pytest.mark.refutes("AU-6")
async def test_what_is_in_order_is() -> None:
    reviews = Reviews()
    with pytest.raises(AuthenticationError):
        await an_authenticator(reviews, VirtualClock()).authenticate(headers(TOKEN), PEER)
    assert reviews.asked == [TOKEN]


@pytest.mark.proves("AU-10")
async def test_each_cluster_reviews_its_own_tokens() -> None:
    one, two = Reviews(default=a_status("a/one")), Reviews(default=a_status("a/two"))
    authenticator = an_authenticator(
        {"one": one, "two": two},
        VirtualClock(),
        clusters=Clusters(primary="one", others=frozenset({"two"}), aliases={"due": "two"}),
    )
    accounts = {}
    for claimed in ("", "one", "two", "due"):
        caller = await authenticator.authenticate(headers(TOKEN, clusterid=claimed), PEER)
        accounts[claimed] = (caller.cluster, caller.service_account)
    assert accounts == {
        "": ("one", "one"),
        "one": ("one", "one"),
        "two": ("two", "two"),
        "due": ("two", "two"),
    }
    assert (len(one.asked), len(two.asked)) == (1, 1)


@pytest.mark.proves("AU-33")
async def test_pods_are_forgotten_in_their_own_cluster() -> None:
    one, two = Reviews(default=a_status()), Reviews(default=a_status())
    authenticator = an_authenticator(
        {"one": one, "two": two},
        VirtualClock(),
        clusters=Clusters(primary="one", others=frozenset({"two"})),
    )
    for _ in range(2):
        for cluster in ("one", "two"):
            await authenticator.authenticate(headers(TOKEN, clusterid=cluster), PEER)
        authenticator.forget_pod("one", "uid-of-istio-system-ztunnel-a")
        authenticator.forget_pod("three", "uid-of-istio-system-ztunnel-a")
    assert (len(one.asked), len(two.asked)) == (2, 1)
