import pytest

from controlplane.manifests.istio import AllocatedAddress, ServiceEntry
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ObjectReference
from tests.support.builders import a_service_entry
from tests.support.expansion import ExpandedMesh, an_expanded_mesh, expanding

OPT_OUT = {"networking.istio.io/enable-autoallocate-ip": "False"}


def allocated(mesh: ExpandedMesh, name: str = "entry") -> dict[str, list[str]]:
    entry = mesh.expansion.manifests.service_entries.get(Name("default", name))
    assert entry is not None
    found: dict[str, list[str]] = {}
    for address in entry.status_addresses:
        found.setdefault(address.host, []).append(address.value)
    return found


@pytest.mark.proves("EX-50")
def test_each_host_gets_one_address_of_each_range() -> None:
    found = allocated(an_expanded_mesh(a_service_entry(hosts=["a.example", "b.example"])))
    assert set(found) == {"a.example", "b.example"}
    for ipv4, ipv6 in found.values():
        assert ipv4.startswith("240.240.")
        assert ipv6.startswith("2001:2:0:")
    assert found["a.example"] != found["b.example"]


@pytest.mark.proves("EX-51")
def test_wildcards_with_dynamic_dns() -> None:
    entry = a_service_entry(hosts=["*.example"], resolution="DYNAMIC_DNS")
    assert set(allocated(an_expanded_mesh(entry))) == {"*.example"}


@pytest.mark.refutes("EX-50", "EX-51")
@pytest.mark.parametrize(
    "entry",
    [
        a_service_entry(addresses=("10.0.0.1",)),
        a_service_entry(resolution="NONE"),
        a_service_entry(labels=OPT_OUT),
        a_service_entry(hosts=["*.example"], resolution="DNS"),
    ],
)
def test_entries_that_need_no_allocation(entry: ServiceEntry) -> None:
    assert allocated(an_expanded_mesh(entry)) == {}


@pytest.mark.proves("EX-52")
@pytest.mark.refutes("EX-52")
def test_hosts_with_an_address_keep_what_they_have() -> None:
    given = (AllocatedAddress(value="240.240.9.9", host="a.example"),)
    entry = a_service_entry(hosts=["a.example", "b.example"], status_addresses=given)
    found = allocated(an_expanded_mesh(entry))
    assert found["a.example"] == ["240.240.9.9"]
    assert len(found["b.example"]) == 2


@pytest.mark.proves("EX-53", "EX-2", "EX-3")
@pytest.mark.refutes("EX-53")
def test_a_taken_address_is_not_replaced() -> None:
    settings = expanding(allocated_ipv4_range="240.240.0.1/32")
    smaller, larger = a_service_entry("a"), a_service_entry("b", hosts=["b.example"])
    mesh = an_expanded_mesh(larger, smaller, settings=settings)
    assert len(allocated(mesh, "a")["example.com"]) == 2
    (only,) = allocated(mesh, "b")["b.example"]
    assert only.startswith("2001:")
    assert mesh.problem_codes() == {
        ObjectReference("ServiceEntry", "default", "b"): "expansion.address-collision"
    }
    mesh.remove(smaller)
    assert allocated(mesh, "b")["b.example"][0] == "240.240.0.1"
    mesh.put(a_service_entry("z", addresses=("240.240.0.1/32", "240.240.0.0/16")))
    assert allocated(mesh, "b")["b.example"] == [only]


@pytest.mark.proves("EX-54")
@pytest.mark.refutes("EX-54")
def test_allocation_can_be_switched_off() -> None:
    entry = a_service_entry()
    off = MeshSettings(expands=True, allocates_addresses=False)
    assert allocated(an_expanded_mesh(entry, settings=off)) == {}
    on = MeshSettings(expands=True, allocates_addresses=True)
    assert allocated(an_expanded_mesh(entry, settings=on)) != {}
