"""Asking a server: what it answers, and every way it may fail to."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.cli.errors import CommandError
from controlplane.cli.server import Server

URL = "http://istiod.test:15014"


def a_server(answer: Any) -> Server:
    """Return a server that answers with what ``answer(request)`` returns."""
    return Server(httpx.Client(base_url=URL, transport=httpx.MockTransport(answer)))


def answering(status: int, body: Any = None, **headers: str) -> Server:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return a_server(lambda _: httpx.Response(status, content=content, headers=headers))


def test_pages_are_followed_to_the_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["name"] == "x"
        assert "namespace" not in request.url.params
        after = request.url.params.get("after", "")
        return httpx.Response(
            200, json={"items": [{"n": after}], "next": {"": "1", "1": "2"}.get(after)}
        )

    found = a_server(answer).pages("/api/v1/things", name="x", namespace=None)
    assert [each["n"] for each in found] == ["", "1", "2"]


def test_pages_that_turn_in_circles_end() -> None:
    server = answering(200, {"items": [], "next": "again"})
    with pytest.raises(CommandError, match="never comes to the end"):
        list(server.pages("/api/v1/things"))


@pytest.mark.parametrize("body", [[], {"items": 3}, {"other": []}, 3])
def test_what_is_no_page_is_refused(body: Any) -> None:
    with pytest.raises(CommandError, match="something else"):
        list(answering(200, body).pages("/api/v1/things"))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            401,
            {"detail": "No token was sent."},
            "No token was sent. (see --token and --token-file)",
        ),
        (403, {"detail": "Not yours."}, "Not yours."),
        (404, {"title": "Not found"}, "Not found"),
        (500, b"<html>", f"{URL} answers with status 500"),
        (404, {"detail": ["x"]}, f"{URL} answers with status 404"),
        (302, {}, f"{URL} answers with status 302"),
        (400, {"detail": "x" * 1000}, "x" * 300 + "..."),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_server(status: int, body: Any, said: str) -> None:
    with pytest.raises(CommandError) as raised:
        answering(status, body, location="http://elsewhere.test/").get("/x")
    assert str(raised.value) == said


def test_an_answer_that_is_no_json_is_one_of_something_else() -> None:
    with pytest.raises(CommandError, match="answers /x with something else"):
        answering(200, b"<html>").get("/x")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("refused"), f"nobody answers at {URL}: refused (see --server"),
        (httpx.ReadTimeout("slow"), f"{URL} does not answer in time"),
        (httpx.RemoteProtocolError("odd"), f"{URL} cannot be asked: odd"),
    ],
)
def test_a_server_that_is_away_is_named(error: httpx.HTTPError, said: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(CommandError) as raised:
        a_server(answer).get("/x")
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    "url", ["", "localhost:15014", "file:///etc/passwd", "http://", "http://a:b"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CommandError, match="is no URL"):
        Server.at(url, None, None)


def test_a_password_in_the_url_is_not_repeated() -> None:
    with pytest.raises(CommandError) as raised:
        Server.at("http://me:secret@127.0.0.1:1", None, None).get("/x")
    assert "secret" not in str(raised.value)


def test_a_token_comes_from_the_option_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" abc\n")
    for server in (Server.at(URL, "abc", None), Server.at(URL, None, file)):
        assert server._client.headers["authorization"] == "Bearer abc"
    assert "authorization" not in Server.at(URL, None, None)._client.headers


@pytest.mark.parametrize("content", [b"a\nb", b"\xff", b"a\x00"])
def test_a_token_that_could_be_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(CommandError, match="token"):
        Server.at(URL, None, file)
    with pytest.raises(CommandError, match="cannot be read"):
        Server.at(URL, None, tmp_path / "missing")
    with pytest.raises(CommandError, match="either"):
        Server.at(URL, "abc", file)


def test_the_time_is_that_of_the_server() -> None:
    hour = timedelta(hours=1)
    server = answering(200, {}, date=format_datetime(datetime.now(UTC) + hour, usegmt=True))
    server.get("/x")
    assert abs(server.now - datetime.now(UTC) - hour) < timedelta(seconds=60)
    close = answering(200, {}, date=format_datetime(datetime.now(UTC), usegmt=True))
    close.get("/x")
    assert abs(close.now - datetime.now(UTC)) < timedelta(seconds=1)
