"""Situations of tokens, judged by the double of an API server and by a real one where there is."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from controlplane.authentication.authenticator import TokenAuthenticator
from controlplane.authentication.cluster_reviews import ClusterTokenReviews
from controlplane.authentication.clusters import Clusters
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.authentication.token_review import TokenReviewer
from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ApiServer, ClusterLocation, open_cluster
from controlplane.model.names import Name
from tests.support.authentication import a_status, a_token, headers
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of

OURS = "istio-ca"
CLUSTER = "Kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """An API server and how to get a token of the account ``default/tested`` from it."""

    client: ApiServer
    token_for: Callable[[str], Awaitable[str]]

    @property
    def authenticator(self) -> TokenAuthenticator:
        clock = SystemClock()
        reviewer = TokenReviewer(
            ClusterTokenReviews(self.client), cluster=CLUSTER, audiences={OURS}, clock=clock
        )
        return TokenAuthenticator(
            {CLUSTER: reviewer}, clusters=Clusters(primary=CLUSTER), audiences={OURS}, clock=clock
        )


@asynccontextmanager
async def the_double() -> AsyncIterator[Rig]:
    async with KubernetesApi() as api, client_of(api) as client:

        async def token_for(audience: str) -> str:
            token = a_token("tested", aud=[audience])
            if audience == OURS:
                api.reviews[token] = a_status("default/tested", pod="", uid="")
            return token

        yield Rig(client=client, token_for=token_for)


@asynccontextmanager
async def a_real_one(kubeconfig: Path) -> AsyncIterator[Rig]:
    client = await open_cluster(ClusterLocation(kubeconfig=kubeconfig))
    account = f"tested-{uuid4().hex[:8]}"
    path = "/api/v1/namespaces/default/serviceaccounts"
    try:
        made = await client.request(
            "POST", path, body=json.dumps({"metadata": {"name": account}}).encode()
        )
        assert made.status == 201

        async def token_for(audience: str) -> str:
            wanted = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
            answer = await client.request(
                "POST", f"{path}/{account}/token", body=json.dumps(wanted).encode()
            )
            return str(json.loads(answer.body)["status"]["token"])

        yield Rig(client=client, token_for=token_for)
        await client.request("DELETE", f"{path}/{account}")
    finally:
        await client.close()


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.kube)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    opened = (
        the_double()
        if request.param == "double"
        else a_real_one(request.getfixturevalue("real_kubeconfig"))
    )
    async with opened as found:
        yield found


async def test_a_token_of_ours_belongs_to_its_account(rig: Rig) -> None:
    token = await rig.token_for(OURS)
    caller = await rig.authenticator.authenticate(headers(token), "peer")
    assert caller.account.namespace == "default"
    assert caller.account.name.startswith("tested")
    assert caller.account != Name("default", "default")


async def test_situation_6_a_token_for_somebody_else(rig: Rig) -> None:
    token = await rig.token_for("api")
    with pytest.raises(UnauthenticatedError) as refused:
        await rig.authenticator.authenticate(headers(token), "peer")
    assert refused.value.reason in {Reason.WRONG_AUDIENCE, Reason.REJECTED}


async def test_situation_7_a_token_that_is_not_of_this_cluster(rig: Rig) -> None:
    token = await rig.token_for(OURS)
    forged = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    with pytest.raises(UnauthenticatedError):
        await rig.authenticator.authenticate(headers(forged), "peer")
