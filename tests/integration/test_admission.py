"""The webhook over real TLS, and its configuration on a double of the API server."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from controlplane.admission.application import Admission
from controlplane.admission.server import AdmissionServer
from controlplane.clock import SystemClock
from controlplane.controllers.root_certificates import Roots
from controlplane.controllers.webhook_configuration import WebhookConfiguration, WebhookPace
from controlplane.controllers.webhook_probe import WebhookProbe
from tests.support.admission import CommittedMesh, Issuer, Seen, a_review, body_of
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of
from tests.support.lab_sockets import all_closed

NAME = "istiod.istio-system.svc"
CONFIGURATION = "istiod-lite-validator-istio-system"
PLURAL = "validatingwebhookconfigurations"
GOOD = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "a", "namespace": "shop"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
QUICK = WebhookPace(look=0.02, silence=0.1, given_up=0.1)


class Webhook:
    """A webhook that can be stopped and started again on its port."""

    def __init__(self, issuer: Issuer, *, is_ready: bool = True) -> None:
        self.issuer = issuer
        self.port = 0
        self.seen = Seen()
        self.is_ready = is_ready
        self._running: asyncio.Task[None] | None = None

    async def start(self, chain: bytes | None = None, key: bytes | None = None) -> None:
        if chain is None or key is None:
            chain, key = self.issuer.served(NAME)
        admission = Admission(
            CommittedMesh().judge,
            observer=self.seen,
            is_ready=lambda: self.is_ready,
            clock=SystemClock(),
        )
        self.server = AdmissionServer(
            admission.application(),
            host="127.0.0.1",
            port=self.port,
            chain_pem=chain,
            key_pem=key,
        )
        self.port = self.server.port
        self._running = asyncio.create_task(self.server.run())

    async def stop(self) -> None:
        if self._running is not None:
            self.server.stop()
            await self._running
            self._running = None

    def probe(self, name: str = NAME) -> WebhookProbe:
        return WebhookProbe(
            host="127.0.0.1", port=self.port, server_name=name, namespace="istio-system"
        )

    def client(self, issuer: Issuer | None = None) -> httpx.AsyncClient:
        roots = (issuer or self.issuer).root_pem.decode()
        return httpx.AsyncClient(
            verify=ssl.create_default_context(cadata=roots),
            trust_env=False,
            base_url=f"https://127.0.0.1:{self.port}",
        )


@asynccontextmanager
async def a_webhook(**settings: Any) -> AsyncIterator[Webhook]:
    webhook = Webhook(Issuer(), **settings)
    await webhook.start()
    try:
        yield webhook
    finally:
        await webhook.stop()


async def asked(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(
        "/validate", content=body_of(a_review(GOOD)), extensions={"sni_hostname": NAME}
    )


def _served(response: httpx.Response) -> bytes:
    der = response.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
    return ssl.DER_cert_to_PEM_cert(der).encode()


@pytest.mark.proves("AD-1", "AD-15")
async def test_a_certificate_is_replaced_under_open_connections() -> None:
    async with a_webhook() as webhook, webhook.client() as old, webhook.client() as new:
        first = await asked(old)
        assert first.json()["response"]["allowed"] is True
        chain, key = webhook.issuer.served(NAME, key=rsa.generate_private_key(65537, 2048))
        webhook.server.replace(chain, key)
        again, fresh = await asked(old), await asked(new)
        assert _served(again) == _served(first) != chain
        assert _served(fresh) == chain
        assert {again.status_code, fresh.status_code} == {200}


async def test_many_ask_while_certificates_change() -> None:
    async with a_webhook() as webhook:

        async def asking() -> list[int]:
            statuses = []
            for _ in range(5):
                async with webhook.client() as client:
                    statuses.append((await asked(client)).status_code)
            return statuses

        async def rotating() -> None:
            for _ in range(20):
                webhook.server.replace(*webhook.issuer.served(NAME))
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(rotating())
            asks = [group.create_task(asking()) for _ in range(4)]
        assert {status for ask in asks for status in ask.result()} == {200}


@pytest.mark.refutes("AD-14")
async def test_a_connection_that_asks_stays_open_for_the_next_question() -> None:
    async with a_webhook() as webhook, webhook.client() as client:
        streams = {(await asked(client)).extensions["network_stream"] for _ in range(3)}
        assert len(streams) == 1


@pytest.mark.proves("AD-14")
async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.admission.server._PATIENCE", 0.2)
    async with a_webhook() as webhook:
        roots = ssl.create_default_context(cadata=webhook.issuer.root_pem.decode())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", webhook.port, ssl=roots, server_hostname=NAME
        )
        writer.write(b"POST /validate HTTP/1.1\r\nHost: a\r\n")
        answer = b""
        with suppress(ConnectionResetError):  # where the bytes came when it was being closed
            answer = await reader.read()
        assert answer == b""
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_what_is_no_http_and_no_tls_harms_nobody() -> None:
    async with a_webhook() as webhook:
        for sent in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00garbage", b""):
            _, writer = await asyncio.open_connection("127.0.0.1", webhook.port)
            writer.write(sent)
            await writer.drain()
            writer.close()
        async with webhook.client() as client:
            assert (await asked(client)).status_code == 200


@pytest.mark.proves("AD-21")
async def test_a_probe_finds_a_webhook_that_works_and_is_not_counted() -> None:
    async with a_webhook() as webhook:
        assert await webhook.probe()(webhook.issuer.root_pem.decode()) == ""
        assert webhook.seen == Seen()


@pytest.mark.refutes("AD-21")
async def test_a_probe_says_what_does_not_work() -> None:
    async with a_webhook() as webhook:
        roots, others = webhook.issuer.root_pem.decode(), Issuer().root_pem.decode()
        assert "certificate verify failed" in await webhook.probe()(others)
        assert "not valid for" in await webhook.probe("another.name")(roots)
        assert await webhook.probe()("no certificate") != ""
        webhook.is_ready = False
        assert await webhook.probe()(roots) == "HTTP status 503"
        await webhook.stop()
        assert "ConnectError" in await webhook.probe()(roots)


async def test_a_probe_that_is_given_up_leaves_no_connection_behind() -> None:
    greeted, ended = asyncio.Event(), asyncio.Event()

    async def answer_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read(1)
            greeted.set()
            await reader.read()
            ended.set()

    async with await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = WebhookProbe(
            host="127.0.0.1", port=port, server_name=NAME, namespace="istio-system"
        )
        looking = asyncio.create_task(probe(Issuer().root_pem.decode()))
        await greeted.wait()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await asyncio.wait_for(ended.wait(), 10)
    await all_closed()


def a_configuration(*names: str) -> dict[str, Any]:
    service = {"name": "istiod", "namespace": "istio-system", "path": "/validate"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [
            {"name": name, "failurePolicy": "Ignore", "clientConfig": {"service": service}}
            for name in names
        ],
    }


class Lead:
    seconds_left = 5.0


class Kept:
    """A configuration on the double that a controller keeps."""

    def __init__(self, api: KubernetesApi, webhook: Webhook, *names: str) -> None:
        self.api = api
        self.roots = Roots(pem=webhook.issuer.root_pem.decode(), version=1)
        document = a_configuration(*names)
        api.objects.write(PLURAL, ("", CONFIGURATION), document)

    @property
    def policies(self) -> list[str]:
        return [entry["failurePolicy"] for entry in self.entries]

    @property
    def entries(self) -> list[dict[str, Any]]:
        live = self.api.objects.get(PLURAL, ("", CONFIGURATION))
        assert live is not None
        entries: list[dict[str, Any]] = live["webhooks"]
        return entries

    def bundle(self, index: int = 0) -> str:
        return base64.b64decode(self.entries[index]["clientConfig"].get("caBundle", "")).decode()


@asynccontextmanager
async def kept(webhook: Webhook, *names: str) -> AsyncIterator[tuple[Kept, WebhookConfiguration]]:
    async with KubernetesApi() as api, client_of(api) as client:
        keeping = Kept(api, webhook, *names)
        keeper = WebhookConfiguration(
            client,
            lead=Lead(),
            configuration=CONFIGURATION,
            roots=lambda: keeping.roots,
            probe=webhook.probe(),
            clock=SystemClock(),
            draw=lambda: 0.0,
            pace=QUICK,
        )
        running = asyncio.create_task(keeper.run())
        try:
            yield keeping, keeper
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.proves("AD-23", "AD-24")
async def test_the_policy_follows_whether_the_webhook_answers() -> None:
    async with a_webhook() as webhook, kept(webhook, "validation.istio.io") as (keeping, keeper):
        until = keeping.api.until
        await until(lambda: keeping.policies == ["Fail"])
        assert keeping.bundle() == webhook.issuer.root_pem.decode()
        await webhook.stop()
        await until(lambda: keeping.policies == ["Ignore"])
        assert "does not answer" in next(iter(keeper.troubles.values())).message
        await webhook.start()
        await until(lambda: keeping.policies == ["Fail"])
        await until(lambda: not keeper.troubles)
        writes = keeping.api.count("patch", PLURAL)
        looks = keeping.api.count("get", PLURAL)
        await until(lambda: keeping.api.count("get", PLURAL) > looks + 5)
        assert keeping.api.count("patch", PLURAL) == writes == 3


@pytest.mark.proves("AD-22")
async def test_the_bundle_follows_a_rotation_of_the_root() -> None:
    async with a_webhook() as webhook, kept(webhook, "validation.istio.io") as (keeping, _):
        until = keeping.api.until
        await until(lambda: keeping.policies == ["Fail"])
        following = Issuer("next")
        both = (webhook.issuer.root_pem + following.root_pem).decode()
        keeping.roots = Roots(pem=both, version=2)
        await until(lambda: keeping.bundle() == both)
        webhook.server.replace(*following.served(NAME))
        keeping.roots = Roots(pem=following.root_pem.decode(), version=3)
        await until(lambda: keeping.bundle() == following.root_pem.decode())
        assert keeping.policies == ["Fail"]


@pytest.mark.proves("AD-20", "AD-26")
async def test_entries_of_others_and_other_configurations_stay_as_they_are() -> None:
    names = ("policy.example.com", "validation.istio.io")
    async with a_webhook() as webhook, kept(webhook, *names) as (keeping, _):
        objects = keeping.api.objects
        theirs = {**a_configuration("validation.istio.io"), "metadata": {"name": "istiod"}}
        objects.write(PLURAL, ("", "istiod"), theirs)
        await keeping.api.until(lambda: keeping.policies == ["Ignore", "Fail"])
        assert keeping.bundle(0) == ""
        istiod = objects.get(PLURAL, ("", "istiod"))
        assert istiod is not None
        assert istiod["webhooks"] == theirs["webhooks"]


@pytest.mark.proves("AD-26")
async def test_being_forbidden_is_shown_until_it_is_allowed() -> None:
    async with a_webhook() as webhook, kept(webhook, "validation.istio.io") as (keeping, keeper):
        keeping.api.denied.add(("patch", PLURAL))
        document = a_configuration("validation.istio.io")
        keeping.api.objects.write(PLURAL, ("", CONFIGURATION), document)
        await keeping.api.until(lambda: CONFIGURATION in keeper.troubles)
        assert keeper.troubles[CONFIGURATION].outcome == "forbidden"
        keeping.api.denied.clear()
        await keeping.api.until(lambda: keeping.policies == ["Fail"])
        await keeping.api.until(lambda: not keeper.troubles)
