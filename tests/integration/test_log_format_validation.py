"""A real Envoy takes every format that is accepted, and refuses what was meant to be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.access_logs import access_log
from controlplane.mesh.log_formats import PLAIN_WORDS
from tests.support.builders import a_service, a_service_port, a_waypoint
from tests.support.envoy_validation import some_secrets, validate
from tests.support.waypoint_snapshots import Waypoints
from tests.unit.mesh.test_log_formats import ACCEPTED

EVERY_WORD = " ".join(f"%{word}%" for word in sorted(PLAIN_WORDS))


def resources(config: MeshConfig) -> dict[str, Any]:
    waypoints = Waypoints()
    waypoints.apply(
        config,
        a_waypoint("waypoint", "shop", labels={"istio.io/waypoint-for": "all"}),
        a_service(
            "web",
            "shop",
            labels={"istio.io/use-waypoint": "waypoint"},
            ports=[a_service_port(80, name="http"), a_service_port(9000, name="tcp")],
        ),
    )
    return waypoints.static(some_secrets())


@pytest.mark.parametrize("file", [None, "", "/dev/stdout", "/dev/stderr", "/no/such/file"])
@pytest.mark.parametrize("encoding", ["TEXT", "JSON"])
def test_our_own_formats_are_taken(file: str | None, encoding: str, tmp_path: Path) -> None:
    config = MeshConfig(access_log_file=file, access_log_encoding=encoding)
    assert validate([resources(config)], tmp_path) is None


@pytest.mark.proves("WC-61")
def test_every_word_is_taken(tmp_path: Path) -> None:
    configs = [MeshConfig(access_log_format=text) for text in (EVERY_WORD, *filter(None, ACCEPTED))]
    members = {str(number): text for number, text in enumerate((EVERY_WORD, *ACCEPTED))}
    written = json.dumps({"inner": members, "number": 1, "flag": False, "none": None})
    configs.append(MeshConfig(access_log_encoding="JSON", access_log_format=written))
    for config in configs:
        assert access_log(config)[1] == {}
    assert validate(map(resources, configs), tmp_path) is None


def test_an_envoy_would_refuse_a_word_that_we_refuse(tmp_path: Path) -> None:
    found = json.dumps(resources(MeshConfig(access_log_format="%PROTOCOL% unique")))
    spoilt = found.replace("%PROTOCOL% unique", "%NONESUCH% unique")
    assert found != spoilt
    said = validate([json.loads(spoilt)], tmp_path)
    assert said is not None
    assert "NONESUCH" in said
