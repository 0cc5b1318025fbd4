"""Requests made to get around a policy, byte by byte, on a real Envoy.

``met`` has to be answered 403. What is ``other`` is another request than the one that is denied,
and the application gets exactly what was judged. What is ``refused`` is nobody's.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

from controlplane.lab.envoy_binary import version
from controlplane.lab.hbone_errors import HboneError
from controlplane.manifests.istio import AuthorizationRule, Operation, When
from controlplane.manifests.read_mesh_config import read_mesh_config
from controlplane.xds.node import Node
from tests.support.policed_waypoint import (
    VIP,
    PolicedWaypoint,
    a_policed_mesh,
    a_policed_waypoint,
    a_web_policy,
)
from tests.support.waypoint_snapshots import Waypoints

ADMIN = AuthorizationRule(operations=(Operation(paths=("/admin", "/admin/*")),))
DELETE = AuthorizationRule(operations=(Operation(methods=("DELETE",)),))
SECRET = AuthorizationRule(operations=(Operation(hosts=("secret.example",)),))
ROLE = AuthorizationRule(when=(When(key="request.headers[x-role]", values=("admin",)),))
SOCKET = """Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="""
SMUGGLED = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: web\r\n\r\n"


def _mesh() -> Waypoints:
    return a_policed_mesh(a_web_policy("p", ADMIN, DELETE, SECRET, ROLE, action="DENY"))


def _asks(target: str = "/", *headers: str, method: str = "GET", host: str = "web") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


MET = [
    *map(_asks, ("/admin", "/admin/", "/admin?x", "/./admin", "/x/../admin", "/x/..\\admin")),
    *map(_asks, ("/%61dmin", "/%2e/admin", "/x/%2e%2e/admin", "/admin\\x")),
    *map(_asks, ("http://web/admin", "http://u@web/admin", "HTTP://web:80/./admin")),
    *(_asks(method=each) for each in ("DELETE", "DELETE\t")),
    *(_asks(host=each) for each in ("secret.example", "SECRET.example", " secret.example\t")),
    *(_asks(host=f"secret.example{each}") for each in (".", ":80", ":", ".:80", ":x")),
    *(_asks(host=each) for each in ("u@secret.example", "web:80@secret.example.")),
    *map(_asks, ("http://secret.example/", "http://SECRET.example.:80/")),
    _asks("http://secret.example/", host="web"),
    _asks("/", "Host: secret.example"),
    _asks("/", "Host: web", host="secret.example"),
    *(_asks("/", each) for each in ("x-role: admin", "X-ROLE:admin", "x-role: \t admin  ")),
    _asks("/", "x-role: user", "x-role: admin"),
    _asks("/", "x-role:", "x-role: admin"),
    _asks("/admin", SOCKET),
    _asks("/admin", "Content-Type: application/grpc-web+proto", method="POST"),
    b"\r\n" + _asks("/admin"),
    b"GET /admin HTTP/1.1\nHost: web\n\n",
    b"GET\t/admin\tHTTP/1.1\r\nHost: web\r\n\r\n",
]
REFUSED = [
    *map(_asks, ("/admin#x", "/x#/../admin", "/admin%00", "\\admin", "web/admin", "admin", "*")),
    *(_asks(method=each) for each in ("delete", "Delete", "DELETE\x0b")),
    *(_asks(host=each) for each in ("web, secret.example", "secret.example/x")),
    *(_asks("/", each) for each in ("x-role : admin", "x-role: admin\0")),
    *(
        _asks("/", *lines, method="POST") + SMUGGLED.encode()
        for lines in (
            ("Content-Length: 4", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding:\tchunked", "Content-Length: 5"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding: xchunked",),
            ("Content-Length: 5", "Content-Length: 0"),
            ("Content-Length: +5",),
        )
    ),
]
OTHER = [
    # Slashes are not merged and %2F is no slash, unless the mesh says so; cases are different.
    ("//admin", "//admin"),
    ("/\\admin", "//admin"),
    ("http://web//admin", "//admin"),
    ("/x/..%2fadmin", "/x/..%2fadmin"),
    ("/%2Fadmin", "/%2Fadmin"),
    ("/%252e/admin", "/%252e/admin"),
    ("/admin%3fx", "/admin%3fx"),
    ("/ADMIN", "/ADMIN"),
    ("/admin;a=b/x", "/admin;a=b/x"),
    ("/x//../admin", "/x/admin"),
    ("/admin/../y", "/y"),
]


@pytest.mark.proves("HP-27", "HP-28")
@pytest.mark.timeout(90)
async def test_what_is_denied_is_denied_however_it_is_written(tmp_path: Path) -> None:
    async with a_policed_waypoint(tmp_path, _mesh()) as waypoint:
        answers = await asyncio.gather(*(_first_status(waypoint, each) for each in MET))
        assert [each for each, status in zip(MET, answers, strict=True) if status != 403] == []
        answers = await asyncio.gather(*(_first_status(waypoint, each) for each in REFUSED))
        odd = [each for each, status in zip(REFUSED, answers, strict=True) if status < 400]
        assert odd == []
        assert 403 not in answers
        assert waypoint.asked.application == []


@pytest.mark.proves("HP-31")
@pytest.mark.refutes("HP-31")
async def test_dots_with_parameters_are_dots_to_envoys_that_are_not_warned_of(
    tmp_path: Path,
) -> None:
    release = f"envoy-{await version()}"
    is_mended = not Node(id="", kind="waypoint", namespace="app", version=release).mistakes_paths
    async with a_policed_waypoint(tmp_path, _mesh()) as waypoint:
        for written in ("/..;/admin", "/.;/admin", "/x/..;a=b/admin"):
            assert await _first_status(waypoint, _asks(written)) == (403 if is_mended else 200)
        asked = [each[":target"] for each in waypoint.asked.application]
    assert asked == ([] if is_mended else ["/..;/admin", "/.;/admin", "/x/..;a=b/admin"])


@pytest.mark.proves("HP-28")
@pytest.mark.refutes("HP-28")
async def test_what_is_judged_is_what_the_application_is_asked(tmp_path: Path) -> None:
    async with a_policed_waypoint(tmp_path, _mesh()) as waypoint:
        for written, judged in OTHER:
            assert await _first_status(waypoint, _asks(written)) == 200
            assert waypoint.asked.application[-1][":target"] == judged
        dropped = _asks("/", "Connection: x-role", "x-role: admin")
        assert await _first_status(waypoint, dropped) == 200
        assert "x-role" not in waypoint.asked.application[-1]
        assert await _first_status(waypoint, _asks("/", "Upgrade: h2c")) == 200
        assert "upgrade" not in waypoint.asked.application[-1]


@pytest.mark.proves("HP-30")
@pytest.mark.refutes("HP-30")
@pytest.mark.parametrize(
    ("written", "met"),
    [
        ("NONE", 0),
        ("DEFAULT", 2),
        ("BASE", 2),
        ("MERGE_SLASHES", 4),
        ("DECODE_AND_MERGE_SLASHES", 6),
    ],
)
async def test_paths_are_normalized_as_the_mesh_says(
    tmp_path: Path, written: str, met: int
) -> None:
    config = read_mesh_config({"pathNormalization": {"normalization": written}})
    mesh = a_policed_mesh(config, a_web_policy("p", ADMIN, action="DENY"))
    targets = ("/./admin", "/%61dmin", "//admin", "/\\admin", "/%2Fadmin", "/x/..%2fadmin")
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        answers = [await _first_status(waypoint, _asks(target)) for target in targets]
        assert answers == [403] * met + [200] * (len(targets) - met)
        assert await _first_status(waypoint, _asks("/admin")) == 403


@pytest.mark.proves("HP-28")
async def test_every_request_of_a_connection_is_judged(tmp_path: Path) -> None:
    async with a_policed_waypoint(tmp_path, _mesh()) as waypoint:
        for second in (_asks("/admin"), _asks(method="DELETE"), _asks(host="secret.example")):
            for first in (_asks("/"), _asks("/", "Content-Length: 5") + b"12345"):
                assert await _statuses(waypoint, first + second, 2) == [200, 403]
            # What the application does not switch to goes no further.
            assert await _statuses(waypoint, _asks("/", SOCKET) + second, 2) == [200]
        targets = {each[":target"] for each in waypoint.asked.application}
        assert targets == {"/"}


Fields = list[tuple[str, str]]


def _fields(*more: tuple[str, str], **pseudo: str) -> Fields:
    known = {"method": "GET", "scheme": "http", "authority": "web", "path": "/"} | pseudo
    return [*((f":{name}", value) for name, value in known.items() if value), *more]


FRAMED_MET = [
    *(_fields(path=each) for each in ("/admin", "/x/../admin", "/%61dmin", "/admin?x")),
    _fields(method="DELETE"),
    *(
        _fields(authority=each)
        for each in ("SECRET.example", "secret.example.", "secret.example:1")
    ),
    _fields(("host", "secret.example"), authority=""),
    _fields(("host", "web"), authority="secret.example"),
    _fields(("x-role", "user"), ("x-role", "admin")),
]
FRAMED_REFUSED = [
    *(_fields(path=each) for each in ("http://web/admin", "*", "admin", "", "/admin#x", "/a d")),
    *(_fields(method=each) for each in ("DELETE ", "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n")),
    *(_fields(authority=each) for each in ("", "u@secret.example", "web, secret.example")),
    *(_fields((f":{each}", "/admin")) for each in ("path", "method", "authority")),
    _fields(("X-Role", "admin")),
    _fields(("transfer-encoding", "chunked")),
    _fields(("x-a", "b\r\nx-role: admin")),
    _fields((":protocol", "websocket"), method="CONNECT", path="/admin"),
    _fields(method="CONNECT"),
]


@pytest.mark.proves("HP-27", "HP-28")
@pytest.mark.timeout(60)
async def test_nor_is_it_let_through_in_frames(tmp_path: Path) -> None:
    async with a_policed_waypoint(tmp_path, _mesh()) as waypoint:
        answers = await asyncio.gather(*(_framed(waypoint, each) for each in FRAMED_MET))
        assert [each for each, to in zip(FRAMED_MET, answers, strict=True) if to != "403"] == []
        # Of these many are never answered, so they are waited for less.
        answers = await asyncio.gather(*(_framed(waypoint, each, 2) for each in FRAMED_REFUSED))
        assert set(answers) <= {"400", ""}
        assert waypoint.asked.application == []
        # Two names: the one that counts goes on alone.
        assert await _framed(waypoint, _fields(("host", "secret.example"))) == "200"
        assert waypoint.asked.application[-1]["host"] == "web"


@pytest.mark.refutes("HP-27")
async def test_a_host_that_is_allowed_is_allowed_as_it_is_written(tmp_path: Path) -> None:
    rules = (
        AuthorizationRule(operations=(Operation(hosts=("web.example",)),)),
        AuthorizationRule(operations=(Operation(paths=("/x",), not_hosts=("other.example",)),)),
    )
    async with a_policed_waypoint(tmp_path, a_policed_mesh(a_web_policy("p", *rules))) as waypoint:
        assert await _first_status(waypoint, _asks(host="Web.Example")) == 200
        for host in ("web.example.", "web.example:80", "u@web.example", "xweb.example"):
            assert await _first_status(waypoint, _asks(host=host)) == 403
        assert await _first_status(waypoint, _asks("/x")) == 200
        assert await _first_status(waypoint, _asks("/x", host="others.example")) == 200
        for host in ("OTHER.example", "other.example.", "other.example:80", "u@other.example"):
            assert await _first_status(waypoint, _asks("/x", host=host)) == 403


async def _first_status(waypoint: PolicedWaypoint, data: bytes) -> int:
    return (await _statuses(waypoint, data, 1))[0]


async def _statuses(waypoint: PolicedWaypoint, data: bytes, count: int) -> list[int]:
    """Send ``data`` through a tunnel and return the statuses of what is answered."""
    received = b""
    async with waypoint.client() as client, asyncio.timeout(20):
        with suppress(HboneError):
            stream = await client.open(f"{VIP}:80")
            await stream.write(data)
            while received.count(b"HTTP/1.1 ") < count or not received.partition(b"\r\n")[1]:
                more = await stream.read()
                if not more:
                    break
                received += more
            stream.reset()
    return [int(each[:3]) for each in received.split(b"HTTP/1.1 ")[1:]]


async def _framed(waypoint: PolicedWaypoint, fields: Fields, seconds: float = 20) -> str:
    """Send a request in frames; return the status, or nothing where the stream is ended.

    Where nothing comes in ``seconds``, that is an end as well.
    """
    connection = H2Connection(
        H2Configuration(
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            header_encoding="utf-8",
        )
    )
    connection.initiate_connection()
    connection.send_headers(1, fields, end_stream=True)
    async with waypoint.client() as client:
        try:
            async with asyncio.timeout(seconds):
                stream = await client.open(f"{VIP}:80")
                await stream.write(connection.data_to_send())
                while more := await stream.read():
                    for event in connection.receive_data(more):
                        if isinstance(event, ResponseReceived):
                            return str(next(value for _, value in event.headers or ()))
                        if isinstance(event, StreamReset | ConnectionTerminated):
                            return ""
        except (TimeoutError, HboneError):
            pass
    return ""
