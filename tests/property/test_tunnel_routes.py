"""Whatever services there are, a tunnel leads to the listener that has the port it asks for."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.encode.document import envoy_json
from controlplane.encode.listening import Gates, part_of
from controlplane.encode.tunnel_routes import encode_tunnel_routes
from controlplane.model.names import ObjectReference
from controlplane.model.network import text_from_address
from controlplane.model.waypoint_traffic import (
    AddressRange,
    DirectWorkloads,
    ServedPort,
    ServedService,
)
from controlplane.model.workload import AppProtocol
from tests.support.waypoint_traffic import WAYPOINT, a_served_service

_BYTES = (AppProtocol.TCP, AppProtocol.TLS)
_LENGTHS = {4: (32, 32, 24, 16), 16: (128, 128, 64)}
ADDRESSES = st.sampled_from(
    [
        *(bytes((10, 96, third, last)) for third in (0, 1) for last in (0, 1, 2)),
        *(b"\xfd" + b"\0" * 14 + bytes([last]) for last in (0, 1, 2)),
    ]
)
RANGES = ADDRESSES.flatmap(
    lambda address: st.sampled_from(_LENGTHS[len(address)]).map(
        lambda length: AddressRange(_cut(address, length), length)
    )
)
PORTS = st.builds(ServedPort, st.integers(1, 4), st.sampled_from(AppProtocol))


def _cut(address: bytes, length: int) -> bytes:
    size = len(address) * 8
    number = int.from_bytes(address, "big") >> (size - length) << (size - length)
    return number.to_bytes(len(address), "big")


@st.composite
def services(draw: st.DrawFn) -> list[ServedService]:
    """Services that share addresses, ranges and numbers of ports as often as can be."""
    return [
        a_served_service(
            f"s{number}",
            *sorted(draw(st.lists(PORTS, min_size=1, unique_by=lambda port: port.number))),
            ranges=tuple(sorted(draw(st.sets(RANGES, max_size=3)))),
            owner=ObjectReference(
                draw(st.sampled_from(("Service", "ServiceEntry"))), "shop", f"s{number}"
            ),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


DIRECT = st.none() | st.sets(ADDRESSES, min_size=1).map(
    lambda found: DirectWorkloads(waypoint=WAYPOINT, addresses=tuple(sorted(found)))
)


def led_to(hosts: Sequence[dict[str, Any]], authority: str) -> str:
    """Return the cluster of an authority, found as an Envoy finds it."""
    domains = {domain: host["name"] for host in hosts for domain in host["domains"]}
    if authority in domains:
        return domains[authority]
    ends = [each for each in domains if each[0] == "*" and len(each) > 1]
    begins = [each for each in domains if each[-1] == "*" and len(each) > 1]
    found = [each for each in ends if authority.endswith(each[1:])]
    found = found or [each for each in begins if authority.startswith(each[:-1])]
    return domains[max(found, key=len, default="*")]


def _authority(address: bytes, port: int) -> str:
    text = text_from_address(address)
    return f"{text}:{port}" if len(address) == 4 else f"[{text}]:{port}"


@given(mesh=services(), direct=DIRECT)
def test_a_tunnel_leads_to_the_listener_that_has_the_port(
    mesh: list[ServedService], direct: DirectWorkloads | None
) -> None:
    hosts = envoy_json(encode_tunnel_routes(mesh, direct))["virtual_hosts"]
    domains = [domain for host in hosts for domain in host["domains"]]
    assert len(domains) == len(set(domains))
    owners: dict[tuple[AddressRange, int], ServedPort] = {}
    for service in sorted(mesh, key=lambda each: each.owner.kind != "Service"):
        for port in service.ports:
            expected = "main_sniffed" if port.is_sniffed else "main_internal"
            assert led_to(hosts, f"{service.hostname}:{port.number}") == expected
            for each in service.ranges:
                owners.setdefault((each, port.number), port)
    sniffed = part_of(mesh, Gates({}), is_sniffed=True)
    there = {
        (each, port)
        for service in sniffed.services
        for port in service.ports
        for each in service.ranges
    }
    taken = set()
    for (each, number), port in owners.items():
        found = led_to(hosts, _authority(each.address, number))
        if each.length == len(each.address) * 8:
            assert found == ("main_sniffed" if port.is_sniffed else "main_internal")
            taken.add(each.address)
        elif not _is_named(mesh, each.address, number):
            assert found == "main_sniffed" or not port.is_sniffed
            is_workload = direct is not None and each.address in direct.addresses
            assert found == "main_internal" or is_workload or (each, port) in there
    known = {port.number for service in mesh for port in service.ports if port.protocol in _BYTES}
    known -= {port.number for service in mesh for port in service.ports if port.is_sniffed}
    for address in () if direct is None else set(direct.addresses) - taken:
        for number in range(1, 6):
            expected = "main_internal" if number in known else "main_sniffed"
            assert led_to(hosts, _authority(address, number)) == expected


def _is_named(mesh: list[ServedService], address: bytes, number: int) -> bool:
    """Return whether somebody has the port at this very address."""
    whole = AddressRange(address, len(address) * 8)
    return any(
        whole in service.ranges and number in {port.number for port in service.ports}
        for service in mesh
    )
