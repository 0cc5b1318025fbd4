"""Key sets fetched from a server that answers well, slowly, hugely, in circles and wrongly."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controlplane.authentication.errors import KeySetError
from controlplane.authentication.key_set import read_key_set
from controlplane.model.token_rule import KeySetRequest
from controlplane.sources.key_sets.download import Downloads, DownloadSettings
from tests.support.issuer_server import Answer, IssuerServer, an_issuer_server, drip, flood, never
from tests.support.tokens import key_set

NEAR = Downloads(DownloadSettings(reaches_near=True))
DISTANT = Downloads(DownloadSettings())
KEYS = read_key_set(key_set())
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def server() -> AsyncIterator[IssuerServer]:
    async with an_issuer_server() as running:
        yield running


def _to(location: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    return answer


def _with(**fields: Any) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(**fields)

    return answer


async def _failure(uri: str, seconds: float = 0.0) -> str:
    with pytest.raises(KeySetError) as caught:
        await NEAR(KeySetRequest(uri, seconds))
    return caught.value.reason


@pytest.mark.proves("RA-20", "RA-21")
async def test_keys_come_and_nothing_of_ours_goes(
    server: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers["/keys"] = _with(text=key_set(), headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        assert await NEAR(KeySetRequest(f"{server.url}/keys?tenant=a")) == KEYS
    assert [request.path_qs for request in server.requests] == ["/keys?tenant=a"] * 2
    for request in server.requests:
        assert not {"Authorization", "Cookie", "Proxy-Authorization"} & set(request.headers)


@pytest.mark.proves("RA-20")
async def test_rotated_keys_are_the_new_ones(server: IssuerServer) -> None:
    uri = f"{server.url}/keys"
    assert await NEAR(KeySetRequest(uri)) == KEYS
    server.answers["/keys"] = key_set("two", "one")
    assert await NEAR(KeySetRequest(uri)) == read_key_set(key_set("one", "two"))


@pytest.mark.proves("RA-20")
async def test_three_redirects_are_followed(server: IssuerServer) -> None:
    server.answers |= {"/a": _to("/b"), "/b": _to(f"{server.url}/c"), "/c": _to("keys")}
    assert await NEAR(KeySetRequest(f"{server.url}/a")) == KEYS


@pytest.mark.refutes("RA-20")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (never, "within 0.3 seconds"),
        (drip, "within 0.3 seconds"),
        (flood, "more than 1048576 bytes"),
        (_to("/x"), "redirects too often"),
        (_with(text="<html>"), "not JSON"),
        (_with(text="[" * 100_000), "not JSON"),
        (_with(text="{}"), "no list of keys"),
        (_with(text='{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'), "no key"),
        (_with(status=500, text=key_set()), "status 500"),
        (_with(status=204), "status 204"),
        (
            _with(body=gzip.compress(b" " * 100), headers={"Content-Encoding": "gzip"}),
            "compressed",
        ),
        (_with(status=302), "status 302"),
    ],
    ids=[
        "never", "drip", "flood", "circle", "html", "deep", "empty", "secret", "failing", "void",
        "compressed", "nowhere",
    ],
)  # fmt: skip
async def test_whatever_else_comes_is_a_failure(
    server: IssuerServer, answer: Answer, reason: str
) -> None:
    server.answers["/x"] = answer
    # Only what never comes is given up soon: the rest is to fail of itself.
    seconds = 0.3 if "0.3 seconds" in reason else 15.0
    assert reason in await _failure(f"{server.url}/x", seconds)


@pytest.mark.refutes("RA-20")
async def test_who_closes_the_connection_or_talks_nonsense() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello\r\n\r\n" if len(lines) else b"")
        lines.append("")
        await writer.drain()
        writer.close()

    lines: list[str] = []
    listener = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        for _ in range(2):
            assert "cannot be read" in await _failure(f"http://127.0.0.1:{port}/")
    assert "connected" in await _failure(f"http://127.0.0.1:{port}/")


@pytest.mark.refutes("RA-21")
@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/", "file:///etc/passwd", "http://me:word@127.0.0.1/", "unix:///run/a"],
)
async def test_some_places_are_not_followed_to(server: IssuerServer, location: str) -> None:
    server.answers["/x"] = _to(location)
    assert await _failure(f"{server.url}/x")
    assert len(server.requests) == 1


@pytest.mark.proves("RA-22")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_this_machine_is_not_asked(server: IssuerServer, host: str) -> None:
    port = server.url.rsplit(":", 1)[1]
    with pytest.raises(KeySetError) as caught:
        await DISTANT(KeySetRequest(f"http://{host}:{port}/keys"))
    assert server.requests == []
    assert "not asked for keys" in caught.value.reason


@pytest.mark.proves("RA-22")
async def test_nor_is_it_as_a_number(server: IssuerServer) -> None:
    port = server.url.rsplit(":", 1)[1]
    with pytest.raises(KeySetError):
        await DISTANT(KeySetRequest(f"http://2130706433:{port}/keys"))
    assert server.requests == []


@pytest.mark.refutes("RA-22")
async def test_this_machine_is_asked_if_that_is_set(server: IssuerServer) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert await NEAR(KeySetRequest(f"http://localhost:{port}/keys")) == KEYS


@pytest.mark.proves("RA-22")
async def test_a_name_that_leads_here_is_not_asked(
    server: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    loop = asyncio.get_running_loop()

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    with pytest.raises(KeySetError, match="not asked for keys"):
        await DISTANT(KeySetRequest(f"http://issuer.example:{port}/keys"))
    assert server.requests == []


@pytest.mark.proves("RA-23")
async def test_an_issuer_tells_where_its_keys_are(server: IssuerServer) -> None:
    server.answers[DISCOVERY] = json.dumps({"jwks_uri": f"{server.url}/keys", "issuer": "x"})
    assert await NEAR(KeySetRequest(server.url + DISCOVERY)) == KEYS


@pytest.mark.refutes("RA-23")
async def test_it_tells_once_and_only_there(server: IssuerServer) -> None:
    told = json.dumps({"jwks_uri": f"{server.url}{DISCOVERY}"})
    server.answers |= {DISCOVERY: told, "/elsewhere": told}
    assert "no list of keys" in await _failure(server.url + DISCOVERY)
    assert len(server.requests) == 2
    assert "no list of keys" in await _failure(f"{server.url}/elsewhere")
    server.answers[DISCOVERY] = json.dumps({"jwks_uri": 3})
    assert "does not tell" in await _failure(server.url + DISCOVERY)


@pytest.mark.proves("RA-21")
@pytest.mark.refutes("RA-21")
async def test_certificates_are_verified_and_https_stays_https(
    server: IssuerServer, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    trusting = DownloadSettings(reaches_near=True, roots=roots)
    async with an_issuer_server(roots) as secure:
        downloads = Downloads(trusting)
        assert await downloads(KeySetRequest(f"{secure.url}/keys")) == KEYS
        assert "certificate" in await _failure(f"{secure.url}/keys")
        secure.answers["/x"] = _to(f"{server.url}/keys")
        secure.answers[DISCOVERY] = json.dumps({"jwks_uri": f"{server.url}/keys"})
        for path in ("/x", DISCOVERY):
            with pytest.raises(KeySetError, match="anybody could change"):
                await downloads(KeySetRequest(secure.url + path))
        assert server.requests == []


@pytest.mark.refutes("RA-21")
async def test_roots_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    for _ in range(2):
        with pytest.raises(KeySetError, match="PEM"):
            Downloads(DownloadSettings(roots=file))
        file.write_text("nothing")
