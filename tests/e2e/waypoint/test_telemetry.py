"""What a real waypoint writes and counts about real traffic."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.hbone_errors import ConnectRefusedError, HboneError
from controlplane.manifests.mesh_config import MeshConfig
from tests.e2e.waypoint.generated import generated
from tests.e2e.waypoint.hand_written import ALICE, BACKEND, HOST, POD, VIP, WAYPOINT
from tests.e2e.waypoint.test_data_path import BOB, FOREIGN, ask
from tests.support.envoy_bed import Bed, a_bed

EVERYTHING = MeshConfig(access_log_file="/dev/stdout", access_log_encoding="JSON")
PROMPT = EnvoyOptions(arguments=("--file-flush-interval-msec", "20"))
PRINCIPAL = "spiffe://cluster.local/ns/app/sa/default"
SECONDS = 15.0


@asynccontextmanager
async def logging(
    directory: Path, config: MeshConfig, *, pod_identity: str = BACKEND
) -> AsyncIterator[Bed]:
    async with a_bed(
        generated(config),
        directory,
        identity=WAYPOINT,
        pod=POD,
        pod_identity=pod_identity,
        options=PROMPT,
    ) as bed:
        yield bed


async def line_of(bed: Bed, wanted: Callable[[str], bool]) -> str:
    """Return the first line that is wanted, once there is one."""
    async with asyncio.timeout(SECONDS):
        while True:
            for line in bed.envoy.lines:
                if wanted(line):
                    return line
            await asyncio.sleep(0.02)


async def entry_of(bed: Bed, **members: Any) -> dict[str, Any]:
    """Return the first JSON line with these members, once there is one."""

    def wanted(line: str) -> bool:
        return line.startswith("{") and json.loads(line).items() >= members.items()

    entry: dict[str, Any] = json.loads(await line_of(bed, wanted))
    return entry


async def send_bytes(bed: Bed, who: str) -> bytes:
    async with bed.client(who) as client:
        stream = await client.open(f"{VIP}:9000")
        await stream.write(b"hello")
        answer = await stream.read()
        stream.end()
        return answer


async def metrics_of(bed: Bed, name: str, expected: float, **labels: str) -> float:
    """Return the sum of the samples with these labels, once it is at least what is expected.

    Envoy counts a request when it is over for Envoy, which is after its client has the answer, and
    adds to histograms every few seconds only.
    """
    async with asyncio.timeout(SECONDS):
        while True:
            text = await bed.envoy.admin("/stats/prometheus?filter=istio")
            samples = [
                sample
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == f"envoy_istio_{name}" and sample.labels.items() >= labels.items()
            ]
            if (total := sum(sample.value for sample in samples)) >= expected:
                return total
            await asyncio.sleep(0.2)


@pytest.mark.proves("WC-60")
async def test_a_line_says_who_asked_whom_for_what(tmp_path: Path) -> None:
    async with logging(tmp_path, EVERYTHING) as bed:
        async with bed.client(ALICE) as alice:
            assert (await ask(alice, "/hello?x=1")).status_code == 200
        entry = await entry_of(bed, path="/hello?x=1")
    told = {
        "source_principal": ALICE,
        "destination_principal": PRINCIPAL,
        "destination_service": HOST,
        "destination_port": "80",
        "method": "GET",
        "response_code": 200,
        "response_code_details": "via_upstream",
        "response_flags": "-",
        "upstream_host": f"envoy://connect_originate/{POD}:8080",
        "downstream_local_address": f"{VIP}:80",
        "route_name": "default",
    }
    assert entry.items() >= told.items()
    assert entry["downstream_remote_address"].startswith("127.0.0.1:")
    assert entry["request_id"]


@pytest.mark.proves("WC-60")
async def test_a_denied_request_is_told_with_the_policy(tmp_path: Path) -> None:
    async with logging(tmp_path, MeshConfig()) as bed:
        async with bed.client(BOB) as bob, bed.client(ALICE) as alice:
            assert (await ask(alice, "/passes")).status_code == 200
            assert (await ask(bob, "/bob")).status_code == 403
            assert (await ask(alice, "/admin/x")).status_code == 403
        allowed = await line_of(bed, lambda line: '"GET /bob ' in line)
        denied = await line_of(bed, lambda line: '"GET /admin/x ' in line)
        assert not [line for line in bed.envoy.lines if "/passes" in line]
    assert " 403 - rbac_access_denied_matched_policy[none] " in allowed
    assert allowed.endswith(f' "{BOB}" "-" {HOST}:80')
    assert re.search(r" 403 - rbac_access_denied_matched_policy\[\S+\] ", denied)
    assert "policy[none]" not in denied


@pytest.mark.proves("WC-60")
async def test_a_connection_is_told_when_it_ends_and_a_denied_one_always(tmp_path: Path) -> None:
    async with logging(tmp_path, EVERYTHING) as bed:
        assert await send_bytes(bed, ALICE) == b"hello"
        entry = await entry_of(bed, destination_port="9000")
    assert (entry["bytes_received"], entry["bytes_sent"]) == (5, 5)
    assert (entry["source_principal"], entry["destination_principal"]) == (ALICE, PRINCIPAL)
    async with logging(tmp_path, MeshConfig()) as bed:
        assert await send_bytes(bed, ALICE) == b"hello"
        with pytest.raises(HboneError):
            await send_bytes(bed, BOB)
        denied = await line_of(bed, lambda line: f'"{BOB}"' in line)
        # Refused where its chain is chosen: whom and what is known there, not which policy.
        assert '"- - -" 0 NC ' in denied
        assert f" {VIP}:9000 127.0.0.1:" in denied
        assert not [line for line in bed.envoy.lines if f'"{ALICE}"' in line]


@pytest.mark.refutes("WC-60", "WC-63")
async def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    async with logging(tmp_path, MeshConfig(access_log_file="")) as bed:
        async with bed.client(BOB) as bob:
            assert (await ask(bob)).status_code == 403
            with pytest.raises(ConnectRefusedError):
                await bob.open("10.96.0.11:80")
        # Lines are written in order: what is told of the end comes after all others.
        await bed.envoy.stop()
        # Every line about traffic names its client; times and thread numbers could say "403".
        assert not [line for line in bed.envoy.lines if BOB in line]


@pytest.mark.proves("WC-61")
async def test_lines_have_the_format_of_the_user(tmp_path: Path) -> None:
    config = MeshConfig(
        access_log_file="/dev/stdout",
        access_log_format="mine %REQ(:METHOD)% %FILTER_STATE(io.istio.peer_principal:PLAIN)% 5%%",
    )
    async with logging(tmp_path, config) as bed:
        async with bed.client(ALICE) as alice:
            assert (await ask(alice)).status_code == 200
        assert await line_of(bed, lambda line: line.startswith("mine")) == f"mine GET {ALICE} 5%"


@pytest.mark.proves("WC-63")
async def test_what_is_refused_or_not_reached_in_a_tunnel_is_told(tmp_path: Path) -> None:
    async with logging(tmp_path, MeshConfig()) as bed:
        async with bed.client(ALICE) as alice:
            with pytest.raises(ConnectRefusedError):
                await alice.open("10.96.0.11:80")
        refused = await line_of(bed, lambda line: '"CONNECT 10.96.0.11:80 HTTP/2" 503' in line)
    async with logging(tmp_path, MeshConfig(), pod_identity=FOREIGN) as bed:
        async with bed.client(ALICE) as alice:
            assert (await ask(alice)).status_code == 503
        lost = await line_of(bed, lambda line: f'"HBONE {POD}:8080" UF' in line)
    assert refused.endswith(f'"{ALICE}"')
    assert "CERTIFICATE_VERIFY_FAILED" in lost


@pytest.mark.proves("WC-64")
async def test_requests_and_connections_are_counted_with_the_labels_users_know(
    tmp_path: Path,
) -> None:
    both = {"reporter": "waypoint", "connection_security_policy": "mutual_tls"}
    asked = {**both, "source_principal": ALICE, "destination_service": HOST}
    passed = {
        **asked,
        "destination_principal": PRINCIPAL,
        "destination_workload": "backend",
        "destination_workload_namespace": "app",
        "destination_service_name": "backend",
        "destination_service_namespace": "app",
    }
    async with logging(tmp_path, MeshConfig(access_log_file="")) as bed:
        async with bed.client(ALICE) as alice:
            for _ in range(2):
                assert (await ask(alice)).status_code == 200
            assert (await ask(alice, "/admin")).status_code == 403
        assert await send_bytes(bed, ALICE) == b"hello"
        http = {"request_protocol": "http", "response_code": "200", "response_flags": "-"}
        assert await metrics_of(bed, "requests_total", 2, **passed, **http) == 2
        assert await metrics_of(bed, "requests_total", 1, **asked, response_code="403") == 1
        seen = await metrics_of(bed, "request_duration_milliseconds_count", 2, **passed, **http)
        assert seen == 2
        assert await metrics_of(bed, "response_bytes_count", 2, **passed, **http) == 2
        tcp = {"request_protocol": "tcp", "response_flags": "-"}
        for name, value in {
            "tcp_connections_opened_total": 1,
            "tcp_connections_closed_total": 1,
            "tcp_received_bytes_total": 5,
            "tcp_sent_bytes_total": 5,
        }.items():
            assert await metrics_of(bed, name, value, **passed, **tcp) == value


@pytest.mark.refutes("WC-64")
async def test_what_headers_say_becomes_no_label(tmp_path: Path) -> None:
    async with logging(tmp_path, MeshConfig()) as bed:
        async with bed.client(ALICE) as alice:
            forged = {"host": "forged.example", "user-agent": "forged", "baggage": "forged"}
            assert (await ask(alice, "/forged", headers=forged)).status_code == 200
        assert await metrics_of(bed, "requests_total", 1, source_principal=ALICE) == 1
        assert "forged" not in await bed.envoy.admin("/stats/prometheus?filter=istio")
