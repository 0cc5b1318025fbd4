"""Tokens, their reviews and a TokenReview API on loopback, none of which trusts anybody."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt

from controlplane.authentication.authenticator import TokenAuthenticator
from controlplane.authentication.caller import CallerKind
from controlplane.authentication.clusters import Clusters
from controlplane.authentication.review import ReviewError, Status, TokenReviews
from controlplane.authentication.token_review import (
    ReviewObserver,
    ReviewSettings,
    TokenReviewer,
)
from controlplane.clock import Clock
from controlplane.model.resident import Resident
from tests.support.lab_sockets import all_closed

AUDIENCES = frozenset({"istio-ca"})
CLUSTER = "Kubernetes"
PEER = "ipv4:10.0.0.1:4711"
PREFIX = "authentication.kubernetes.io/"
_EVERYBODYS_KEY = "a key that every test may know, long enough"


def a_token(
    name: str = "ztunnel-a", *, aud: Any = ("istio-ca",), exp: Any = 4_000_000_000, **claims: Any
) -> str:
    """A JWT as a cluster's look from outside; ``name`` only makes it differ from others."""
    audience = list(aud) if isinstance(aud, tuple) else aud
    payload = {"aud": audience, "exp": exp, "jti": name, **claims}
    return jwt.encode(
        {key: value for key, value in payload.items() if value is not None},
        _EVERYBODYS_KEY,
        algorithm="HS256",
    )


def a_status(
    account: str = "istio-system/ztunnel",
    *,
    pod: str = "ztunnel-a",
    uid: str = "uid-of-istio-system-ztunnel-a",
    node: str = "",
    audiences: Any = ("istio-ca",),
    groups: Collection[str] = ("system:serviceaccounts", "system:authenticated"),
    **rest: Any,
) -> dict[str, Any]:
    """The status of a TokenReview that accepts."""
    extra = {"pod-name": pod, "pod-uid": uid, "node-name": node, "credential-id": "JTI=1"}
    return {
        "authenticated": True,
        "audiences": list(audiences) if isinstance(audiences, tuple) else audiences,
        "user": {
            "username": f"system:serviceaccount:{account.replace('/', ':')}",
            "groups": list(groups),
            "extra": {PREFIX + key: [value] for key, value in extra.items() if value},
        },
        **rest,
    }


REJECTED: dict[str, Any] = {"authenticated": False, "error": "token lookup failed"}


@dataclass
class Reviews:
    """Reviews by table; ``gate`` keeps them from ending while it is not set."""

    statuses: dict[str, Status] = field(default_factory=dict)
    default: Status = field(default_factory=lambda: REJECTED)
    asked: list[str] = field(default_factory=list)
    audiences: list[frozenset[str]] = field(default_factory=list)
    fails: bool = False
    running: int = 0
    most_running: int = 0
    kind: CallerKind = CallerKind.CLUSTER_TOKEN

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def review(self, token: str, audiences: Collection[str]) -> Status:
        self.asked.append(token)
        self.audiences.append(frozenset(audiences))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.fails:
            raise ReviewError("as told")
        return self.statuses.get(token, self.default)


@dataclass
class Counts:
    """A ReviewObserver that counts."""

    hits: list[bool] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def remembered(self, *, hit: bool) -> None:
        self.hits.append(hit)

    def reviewed(self, result: str, seconds: float) -> None:
        assert seconds >= 0
        self.results.append(result)


def a_reviewer(
    reviews: TokenReviews,
    clock: Clock,
    *,
    cluster: str = CLUSTER,
    observer: ReviewObserver | None = None,
    **settings: Any,
) -> TokenReviewer:
    return TokenReviewer(
        reviews,
        cluster=cluster,
        audiences=AUDIENCES,
        clock=clock,
        settings=ReviewSettings(**settings),
        observer=observer,
    )


def an_authenticator(
    reviews: TokenReviews | Mapping[str, TokenReviews],
    clock: Clock,
    *,
    clusters: Clusters | None = None,
    **settings: Any,
) -> TokenAuthenticator:
    by_cluster = reviews if isinstance(reviews, Mapping) else {CLUSTER: reviews}
    return TokenAuthenticator(
        {
            cluster: a_reviewer(each, clock, cluster=cluster, **settings)
            for cluster, each in by_cluster.items()
        },
        clusters=clusters or Clusters(primary=CLUSTER),
        audiences=AUDIENCES,
        clock=clock,
    )


def headers(token: str, **others: str) -> dict[str, tuple[str, ...]]:
    return {"authorization": (f"Bearer {token}",), **{key: (v,) for key, v in others.items()}}


def a_resident(
    name: str = "ztunnel-a",
    namespace: str = "istio-system",
    service_account: str = "ztunnel",
    *,
    node: str = "node-a",
    uid: str = "",
    phase: str = "Running",
    ended_at: float | None = None,
) -> Resident:
    return Resident(
        uid=uid or f"uid-of-{namespace}-{name}",
        namespace=namespace,
        name=name,
        node=node,
        service_account=service_account,
        phase=phase,
        ended_at=ended_at,
    )


@dataclass
class TokenReviewApi:
    """The TokenReview API over HTTP: statuses by token, or a failure for everybody."""

    statuses: dict[str, Status] = field(default_factory=dict)
    code: int = 201
    body: bytes | None = None
    answers: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    url: str = ""
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self.serve(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)
        # Also where it is cancelled before its first turn.
        connection.add_done_callback(lambda _: writer.close())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
                fields = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                assert head[0] == "POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1"
                self.asked.append(body)
                self.credentials.append(fields.get("authorization", ""))
                if not self.answers:
                    await reader.read()
                    break
                status = self.statuses.get(body["spec"]["token"], REJECTED)
                answer = json.dumps({**body, "status": status}).encode()
                answer = answer if self.body is None else self.body
                writer.write(
                    b"HTTP/1.1 %d Told\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n%s" % (self.code, len(answer), answer)
                )
                await writer.drain()


@asynccontextmanager
async def token_review_api(**statuses: Status) -> AsyncIterator[TokenReviewApi]:
    """Serve the API on loopback; ``statuses`` may be added later."""
    api = TokenReviewApi(statuses=dict(statuses))
    server = await asyncio.start_server(api.connected, "127.0.0.1", 0)
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        server.close()
        for connection in api.connections:
            connection.cancel()
        await asyncio.gather(*api.connections, return_exceptions=True)
        await all_closed()
