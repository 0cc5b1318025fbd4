import pytest

from controlplane.manifests.istio import AllocatedAddress, ServiceEntry, ServiceEntryPort
from controlplane.mesh.candidates import Candidate
from controlplane.mesh.service_entries import (
    EntryFacts,
    entry_candidates,
    entry_problems,
    wants_allocation,
)
from controlplane.mesh.traffic_distribution import PASSTHROUGH, Distribution
from controlplane.model.network import NetworkAddress
from controlplane.model.service import LoadBalancingMode, Visibility
from controlplane.model.workload import AppProtocol, Port
from tests.support.builders import a_service_entry

OPT_OUT = "networking.istio.io/enable-autoallocate-ip"


def candidates_of(
    entry: ServiceEntry,
    *,
    allocates: bool = True,
    distribution: Distribution = Distribution.ANY,
) -> dict[str, Candidate]:
    facts = EntryFacts("north", distribution, Visibility.PUBLIC, allocates)
    return {each.service.hostname: each for each in entry_candidates(entry, facts)}


def addresses_of(entry: ServiceEntry, host: str = "example.com") -> tuple[str, ...]:
    return tuple(str(each) for each in candidates_of(entry)[host].service.addresses)


@pytest.mark.proves("SV-16")
@pytest.mark.refutes("SV-16")
def test_each_distinct_host_is_a_service() -> None:
    entry = a_service_entry(
        hosts=("b.com", "*.a.com", "b.com"), subject_alt_names=("spiffe://a", "b")
    )
    candidates = candidates_of(entry)
    assert list(candidates) == ["b.com", "*.a.com"]
    for host, candidate in candidates.items():
        assert candidate.service.name == "entry"
        assert candidate.service.subject_alt_names == ("spiffe://a", "b")
        assert candidate.backend.key == ("default", host)
    assert candidates["*.a.com"].field == "spec.hosts[1]"


@pytest.mark.proves("SV-17")
@pytest.mark.refutes("SV-17")
def test_addresses_and_blocks() -> None:
    entry = a_service_entry(
        addresses=("10.0.0.5/24", "10.1.0.1", "10.2.0.1/32", "fd00::5/64", "fd00::1/128")
    )
    assert addresses_of(entry) == (
        "north/10.0.0.0/24",
        "north/10.1.0.1",
        "north/10.2.0.1",
        "north/fd00::/64",
        "north/fd00::1",
    )


@pytest.mark.proves("SV-18")
@pytest.mark.refutes("SV-18")
@pytest.mark.parametrize("text", ["10.0.0.0/33", "example.com", "10.0.0.1/", "10.0.0/24", ""])
def test_one_unusable_address_keeps_the_entry_back(text: str) -> None:
    entry = a_service_entry(addresses=("10.0.0.1", text))
    assert candidates_of(entry) == {}
    [key] = entry_problems(entry)
    assert key == (entry.reference, "service-entry.invalid-address", "spec.addresses[1]")
    assert entry_problems(a_service_entry(addresses=("10.0.0.1", "fd00::/8"))) == {}


ALLOCATED = (
    AllocatedAddress(value="240.240.0.1", host="example.com"),
    AllocatedAddress(value="nonsense", host="example.com"),
    AllocatedAddress(value="2001:2::1", host="example.com"),
    AllocatedAddress(value="240.240.0.2", host="other.com"),
    AllocatedAddress(value="240.240.0.3", host="*.wild.com"),
)
HOSTS = ("example.com", "other.com", "*.wild.com", "none.com")


@pytest.mark.proves("SV-19", "SV-20")
@pytest.mark.refutes("SV-20")
def test_allocated_addresses_belong_to_their_host() -> None:
    entry = a_service_entry(hosts=HOSTS, status_addresses=ALLOCATED, resolution="DNS")
    assert addresses_of(entry) == ("north/240.240.0.1", "north/2001:2::1")
    assert addresses_of(entry, "other.com") == ("north/240.240.0.2",)
    assert addresses_of(entry, "none.com") == ()
    assert addresses_of(entry, "*.wild.com") == ()
    dynamic = a_service_entry(hosts=HOSTS, status_addresses=ALLOCATED, resolution="DYNAMIC_DNS")
    assert addresses_of(dynamic, "*.wild.com") == ("north/240.240.0.3",)
    [key] = entry_problems(entry)
    assert key.code == "service-entry.invalid-allocated-address"
    assert key.field == "status.addresses[1]"


@pytest.mark.refutes("SV-19")
def test_allocated_addresses_are_left_when_not_wanted() -> None:
    own = a_service_entry(status_addresses=ALLOCATED, addresses=("10.0.0.1",))
    assert addresses_of(own) == ("north/10.0.0.1",)
    for entry in (
        a_service_entry(status_addresses=ALLOCATED, resolution="NONE"),
        a_service_entry(status_addresses=ALLOCATED, labels={OPT_OUT: "False"}),
    ):
        assert addresses_of(entry) == ()
        assert not wants_allocation(entry, "example.com")
    asking = a_service_entry(status_addresses=ALLOCATED, labels={OPT_OUT: "true"})
    assert wants_allocation(asking, "example.com")
    assert candidates_of(asking, allocates=False)["example.com"].service.addresses == ()


@pytest.mark.proves("SV-21")
@pytest.mark.refutes("SV-21")
def test_ports_of_an_entry() -> None:
    ports = (
        ServiceEntryPort(number=80, name="tcp-x", protocol="HTTP", target_port=8080),
        ServiceEntryPort(number=3306, name="mysql", protocol="ODD"),
    )
    service = candidates_of(a_service_entry(ports=ports))["example.com"].service
    assert service.ports == (Port(80, 8080, AppProtocol.HTTP11), Port(3306, 3306))


@pytest.mark.proves("SV-22")
@pytest.mark.refutes("SV-22")
def test_resolution_none_passes_through() -> None:
    zone = Distribution.SAME_ZONE
    passing = candidates_of(a_service_entry(resolution="NONE"), distribution=zone)["example.com"]
    assert passing.service.load_balancing == PASSTHROUGH
    assert passing.backend.accepts_unready
    static = candidates_of(a_service_entry(), distribution=zone)["example.com"]
    assert static.service.load_balancing is not None
    assert static.service.load_balancing.mode is LoadBalancingMode.FAILOVER
    assert not static.backend.accepts_unready
    assert candidates_of(a_service_entry())["example.com"].service.load_balancing is None


def test_addresses_are_on_the_local_network() -> None:
    service = candidates_of(a_service_entry(addresses=("10.0.0.1",)))["example.com"].service
    assert service.addresses == (NetworkAddress("north", bytes((10, 0, 0, 1))),)
