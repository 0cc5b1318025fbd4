"""The bootstrap is read by a real Envoy, which knows every field of it."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.controllers.waypoint_objects import waypoint_objects
from controlplane.controllers.waypoint_pod import DIRECTORY, ROOT_DIRECTORY, TOKEN_DIRECTORY
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.encode.bootstrap import BOOTSTRAP_FILE, Bootstrap, bootstrap_files
from controlplane.lab.envoy_binary import envoy_path
from controlplane.manifests.gateway import Gateway
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name
from tests.support.authorities import a_root
from tests.support.waypoint_cluster import GATEWAY, a_cluster, a_replica
from tests.support.waypoint_objects import by_kind

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)


def mount(directory: Path, listen_address: str = "0.0.0.0") -> Path:  # noqa: S104 - not opened
    """Lay out what a pod has mounted and return the path of the bootstrap."""
    for name in ("files", "root", "token"):
        (directory / name).mkdir()
    (directory / "root" / "root-cert.pem").write_text(a_root(begins=BEGINS).pem)
    (directory / "token" / "istio-token").write_text("a.b.c")
    bootstrap = Bootstrap(
        gateway=Name("shop", "waypoint"),
        workload="waypoint",
        service_account="waypoint",
        discovery_host="istiod.istio-system.svc",
        cluster_id="Kubernetes",
        network="east",
        listen_address=listen_address,
        directory=str(directory / "files"),
        root_directory=str(directory / "root"),
        token_directory=str(directory / "token"),
    )
    for name, text in bootstrap_files(bootstrap).items():
        (directory / "files" / name).write_text(text)
    return directory / "files" / BOOTSTRAP_FILE


def arguments_in_a_pod(path: Path) -> list[str]:
    """Return the arguments of the deployed container with ``path`` for the mounted file."""
    gateway = Gateway(metadata=Metadata(name="waypoint", namespace="shop"))
    settings = WaypointSettings(discovery_host="istiod.istio-system.svc")
    deployment = by_kind(waypoint_objects(gateway, settings).objects)["Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    known = {
        "$(INSTANCE_IP)": "10.0.0.1",
        "$(POD_NAME)": "waypoint-0",
        "$(POD_NAMESPACE)": "shop",
        "$(CPU_LIMIT)": "2",
        "/etc/waypoint/bootstrap.json": str(path),
    }
    arguments = []
    for argument in container["args"]:
        for name, value in known.items():
            argument = argument.replace(name, value)  # noqa: PLW2901 - the same argument, further on
        arguments.append(argument)
    return arguments


async def validate(path: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        envoy_path(),
        *("--mode", "validate", *arguments_in_a_pod(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.proves("WO-40")
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104 - validated, never opened
async def test_envoy_accepts_the_bootstrap(tmp_path: Path, address: str) -> None:
    status, output = await validate(mount(tmp_path, address))
    assert status == 0, output
    assert "OK" in output
    assert "$(" not in " ".join(arguments_in_a_pod(tmp_path))
    assert "deprecated" not in output.lower()


@pytest.mark.proves("WO-40")
async def test_envoy_accepts_the_files_of_the_config_map_as_it_was_applied(tmp_path: Path) -> None:
    mount(tmp_path)
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: cluster.has("deployments", "waypoint"))
        files = cluster.get("configmaps", "waypoint-bootstrap")["data"]
    for name, text in files.items():
        for mounted, part in (
            (DIRECTORY, "files"),
            (ROOT_DIRECTORY, "root"),
            (TOKEN_DIRECTORY, "token"),
        ):
            text = text.replace(mounted, str(tmp_path / part))  # noqa: PLW2901 - further on
        (tmp_path / "files" / name).write_text(text)
    status, output = await validate(tmp_path / "files" / BOOTSTRAP_FILE)
    assert status == 0, output
    assert "deprecated" not in output.lower()


def misspelt(document: dict[str, Any]) -> None:
    document["static_resources"]["clusters"][1]["conect_timeout"] = "5s"


def of_an_unknown_type(document: dict[str, Any]) -> None:
    extension = document["bootstrap_extensions"][0]["typed_config"]
    extension["@type"] = "type.googleapis.com/envoy.no.such.Type"


@pytest.mark.refutes("WO-40")
@pytest.mark.parametrize("spoil", [misspelt, of_an_unknown_type])
async def test_envoy_notices_what_it_does_not_know(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    path = mount(tmp_path)
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    status, _ = await validate(path)
    assert status != 0
