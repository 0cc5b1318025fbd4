"""What the mesh configuration says about the access log."""

import json

import pytest

from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.access_logs import access_log
from controlplane.model.access_log import AccessLog, LogOutput
from controlplane.snapshots.scope import LISTENER_TYPE
from tests.support.builders import a_waypoint
from tests.support.waypoint_snapshots import Waypoints


def test_without_a_word_failures_are_told() -> None:
    assert access_log(MeshConfig()) == (AccessLog(), {})
    assert AccessLog().output is LogOutput.STDOUT
    assert AccessLog().only_failures


@pytest.mark.parametrize("output", LogOutput)
def test_a_file_that_is_named_gets_everything(output: LogOutput) -> None:
    log, faults = access_log(MeshConfig(access_log_file=output.value))
    assert log == AccessLog(output=output, only_failures=False)
    assert faults == {}


@pytest.mark.proves("WC-62")
def test_a_file_that_cannot_be_written_is_a_fault_and_the_output_is_used() -> None:
    log, faults = access_log(MeshConfig(access_log_file="/var/log/x"))
    assert log == AccessLog(output=LogOutput.STDOUT, only_failures=False)
    assert list(faults) == ["accessLogFile"]
    assert "'/var/log/x'" in faults["accessLogFile"]


@pytest.mark.refutes("WC-61")
def test_a_text_ends_in_one_line_break() -> None:
    for written in ("%PROTOCOL%", "%PROTOCOL%\n"):
        log, faults = access_log(MeshConfig(access_log_format=written))
        assert (log.text, log.json, faults) == ("%PROTOCOL%\n", "", {})


def test_a_format_of_json_is_an_object() -> None:
    written = '{"a": {"b": "%PROTOCOL%"}, "n": 1}'
    log, faults = access_log(MeshConfig(access_log_encoding="JSON", access_log_format=written))
    assert json.loads(log.json) == {"a": {"b": "%PROTOCOL%"}, "n": 1}
    assert (log.is_json, log.text, faults) == (True, "", {})


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("TEXT", "%NONESUCH%"),
        ("JSON", "%PROTOCOL%"),
        ("JSON", "[]"),
        ("JSON", "{}"),
        ("JSON", '{"a": NaN}'),
        ("JSON", '{"a": "%NONESUCH%"}'),
        ("JSON", "[" * 100_000),
    ],
)
def test_a_format_that_no_envoy_takes_is_a_fault_and_ours_is_used(
    encoding: str, written: str
) -> None:
    config = MeshConfig(access_log_encoding=encoding, access_log_format=written)
    log, faults = access_log(config)
    assert (log.text, log.json, log.is_json) == ("", "", encoding == "JSON")
    assert list(faults) == ["accessLogFormat"]
    assert faults["accessLogFormat"].endswith("the usual format is used")


@pytest.mark.refutes("WC-62")
def test_an_unusable_format_is_a_problem_until_it_is_corrected() -> None:
    waypoints = Waypoints()
    bad = MeshConfig(access_log_file="/var/log/x", access_log_format="%NONESUCH%")
    waypoints.apply(a_waypoint("waypoint", "shop"), bad)
    found = [(problem.code, problem.field) for problem in waypoints.problems()]
    code = "mesh.unusable-access-log"
    assert found == [(code, "accessLogFile"), (code, "accessLogFormat")]
    assert waypoints.names(LISTENER_TYPE)
    waypoints.apply(MeshConfig(access_log_file="/dev/stdout", access_log_format="%PROTOCOL%"))
    assert waypoints.problems() == []


def test_another_log_touches_listeners_alone() -> None:
    waypoints = Waypoints()
    waypoints.apply(a_waypoint("waypoint", "shop"))
    for file in ("/dev/stdout", "", "/dev/stderr"):
        changed = waypoints.apply(MeshConfig(access_log_file=file))
        assert set(changed) == {"shop/waypoint LDS"}
    assert waypoints.apply(MeshConfig(access_log_file="/dev/stderr")) == {}
