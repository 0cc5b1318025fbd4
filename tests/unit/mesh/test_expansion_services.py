from ipaddress import ip_address, ip_network

import pytest

from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ObjectReference
from tests.support.builders import a_service
from tests.support.expansion import ExpandedMesh, an_expanded_mesh, expanding


def addresses(mesh: ExpandedMesh) -> dict[str, tuple[str, ...]]:
    return {key.name: value.cluster_ips for key, value in mesh.expansion.manifests.services.items()}


@pytest.mark.proves("EX-30")
@pytest.mark.parametrize("ips", [(), ("",)])
def test_a_service_without_address_gets_one(ips: tuple[str, ...]) -> None:
    found = addresses(an_expanded_mesh(a_service("a", ips=ips), a_service("b", ips=ips)))
    assert found["a"] != found["b"]
    for (address,) in found.values():
        assert ip_address(address) in ip_network(MeshSettings().service_range)


@pytest.mark.proves("EX-31")
@pytest.mark.refutes("EX-30", "EX-31")
def test_others_stay_as_they_are() -> None:
    given = [
        a_service("headless", ips=["None"]),
        a_service("alias", ips=[], type="ExternalName"),
        a_service("stated", ips=["10.0.0.9"]),
        a_service("bare", ips=[]),
    ]
    found = addresses(an_expanded_mesh(*given))
    assert found.pop("bare") != ()
    assert found == {"headless": ("None",), "alias": (), "stated": ("10.0.0.9",)}


@pytest.mark.proves("EX-32", "EX-2")
@pytest.mark.refutes("EX-32")
def test_a_service_whose_address_is_taken_stays_without() -> None:
    settings = expanding(service_range="10.0.0.7/32")
    mesh = an_expanded_mesh(a_service("b", ips=[]), a_service("a", ips=[]), settings=settings)
    assert addresses(mesh) == {"a": ("10.0.0.7",), "b": ()}
    assert mesh.problem_codes() == {
        ObjectReference("Service", "default", "b"): "expansion.address-collision"
    }
    mesh.remove(a_service("a"))
    assert addresses(mesh) == {"b": ("10.0.0.7",)}
    assert mesh.problem_codes() == {}
    mesh.put(a_service("z", ips=["10.0.0.7"]))
    assert addresses(mesh) == {"b": (), "z": ("10.0.0.7",)}
    assert mesh.expansion.manifests.services.get(Name("default", "b")) is not None
