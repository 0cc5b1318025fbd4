"""The runner, with the real Envoy: what it tells, and that nothing of it is left behind."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from controlplane.lab.envoy import Envoy, EnvoyOptions
from controlplane.lab.envoy_binary import envoy_path, find_envoy, validate, version
from controlplane.lab.envoy_errors import EnvoyError
from tests.support.replicas import until

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"


def a_bootstrap(answer: int = 204) -> dict[str, Any]:
    """Return one with a listener that answers everything by itself."""
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"}}
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": answer}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "web",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [{"name": "nowhere", "type": "STATIC"}],
        }
    }


async def get(address: tuple[str, int]) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get("http://{}:{}/".format(*address))).status_code


async def test_it_runs_tells_of_itself_and_ends(tmp_path: Path) -> None:
    async with Envoy(a_bootstrap(), tmp_path, EnvoyOptions(workers=2)) as envoy:
        pid = envoy.pid
        assert pid is not None
        assert psutil.Process(pid).name() == "envoy"
        assert await envoy.is_ready()
        address = await envoy.address("web")
        assert await get(address) == 204
        assert await envoy.stats(r"^http\.web\.downstream_rq_2xx$") == {
            "http.web.downstream_rq_2xx": 1
        }
        assert list(await envoy.clusters()) == ["nowhere"]
        kinds = {section["@type"].rpartition(".")[2] for section in await envoy.config_dump()}
        assert {"BootstrapConfigDump", "ListenersConfigDump"} <= kinds
        assert "LIVE" in await envoy.admin("/ready")
        with pytest.raises(EnvoyError, match="404"):
            await envoy.admin("/no-such-page")
        with pytest.raises(EnvoyError, match="no listener elsewhere"):
            await envoy.address("elsewhere")
    assert not psutil.pid_exists(pid)
    assert envoy.pid is None
    with pytest.raises(httpx.ConnectError):
        await get(address)
    with pytest.raises(EnvoyError, match="does not run"):
        await envoy.admin("/ready")


async def test_a_restart_is_another_process_with_what_the_bootstrap_says_now(
    tmp_path: Path,
) -> None:
    async with Envoy(a_bootstrap(), tmp_path) as envoy:
        before = envoy.pid
        envoy.bootstrap |= a_bootstrap(answer=418)
        await envoy.restart()
        assert envoy.pid not in {None, before}
        assert await get(await envoy.address("web")) == 418
    assert before is not None
    assert not psutil.pid_exists(before)


async def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    bootstrap = a_bootstrap()
    bootstrap["static_resources"]["clusters"][0]["conect_timeout"] = "5s"
    with pytest.raises(EnvoyError, match="conect_timeout"):
        await Envoy(bootstrap, tmp_path).start()
    with pytest.raises(EnvoyError, match="does not run here"):
        await validate({}, binary=tmp_path / "envoy")
    with pytest.raises(EnvoyError):
        await Envoy({}, tmp_path, EnvoyOptions(binary=tmp_path / "envoy")).start()


async def test_one_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    bootstrap = a_bootstrap()
    source = {"resource_api_version": "V3", "initial_fetch_timeout": "0s", "ads": {}}
    grpc = {"envoy_grpc": {"cluster_name": "nowhere"}}
    bootstrap["node"] = {"id": "waypoint", "cluster": "waypoint"}
    bootstrap["dynamic_resources"] = {
        "cds_config": source,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "grpc_services": [grpc],
        },
    }
    bootstrap["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    impatient = Envoy(bootstrap, tmp_path, EnvoyOptions(patience=1.0))
    with pytest.raises(EnvoyError, match="not ready in time"):
        await impatient.start()
    assert impatient.pid is None
    async with Envoy(bootstrap, tmp_path, EnvoyOptions(waits_until_ready=False)) as envoy:
        assert not await envoy.is_ready()
        assert envoy.pid is not None


async def test_one_that_dies_is_noticed(tmp_path: Path) -> None:
    async with Envoy(a_bootstrap(), tmp_path) as envoy:
        assert envoy.pid is not None
        os.kill(envoy.pid, signal.SIGKILL)
        await until(lambda: envoy.pid is None)
        assert not await envoy.is_ready()
        assert await envoy.stop() == -signal.SIGKILL
        await envoy.start()
        assert await envoy.is_ready()


OWNER = """
import asyncio, json, sys
from pathlib import Path
from controlplane.lab.envoy import Envoy

async def main():
    envoy = Envoy(json.loads(sys.argv[2]), Path(sys.argv[1]))
    await envoy.start()
    print(envoy.pid, flush=True)
    if sys.argv[3] == "raises":
        sys.stdin.readline()
        raise RuntimeError
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["raises", "is killed", "is interrupted"])
async def test_none_outlives_who_started_it(tmp_path: Path, end: str) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(tmp_path), json.dumps(a_bootstrap()), end),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert owner.stdout is not None
        envoy = psutil.Process(int(await owner.stdout.readline()))
        assert envoy.name() == "envoy"
        assert owner.stdin is not None
        owner.stdin.close()
        if end == "is killed":
            owner.kill()
        elif end == "is interrupted":
            owner.send_signal(signal.SIGINT)
        await owner.wait()
        await until(lambda: not is_alive(envoy))
    finally:
        with suppress(ProcessLookupError):
            owner.kill()
        await owner.wait()


def is_alive(process: psutil.Process) -> bool:
    """Return whether it runs; an orphan that ended stays a zombie where nobody looks after it."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_configuration_is_judged_without_running_it() -> None:
    assert await validate(a_bootstrap()) is None
    broken = a_bootstrap()
    broken["static_resources"]["listeners"][0]["filter_chains"] = []
    reason = await validate(broken)
    assert reason is not None
    assert "no filter chains" in reason


async def test_it_is_of_a_version_that_waypoints_can_have() -> None:
    assert find_envoy() == envoy_path()
    numbers = tuple(int(part) for part in (await version()).split("."))
    assert numbers >= (1, 38)
