import random

import pytest

from controlplane.manifests.istio import ServiceEntry, WorkloadSpec
from controlplane.mesh.candidates import Candidate
from controlplane.mesh.hostnames import settle_claims
from controlplane.mesh.service_entries import EntryFacts, entry_candidates
from controlplane.mesh.services import service_candidate
from controlplane.mesh.traffic_distribution import Distribution
from controlplane.model.names import ServiceName
from controlplane.model.service import Visibility
from tests.support.builders import a_service, a_service_entry
from tests.support.mesh import Mesh

HOST = "web.shop.svc.cluster.local"


def an_entry(
    name: str, namespace: str = "shop", created: float = 0.0, visible: bool = True
) -> Candidate:
    visibility = Visibility.PUBLIC if visible else Visibility.NAMESPACE
    facts = EntryFacts("", Distribution.ANY, visibility, True)
    entry = a_service_entry(name, namespace, hosts=(HOST,), created=created)
    return entry_candidates(entry, facts)[0]


def the_service() -> Candidate:
    candidate = service_candidate(
        a_service("web", "shop", created=99.0),
        network="",
        distribution=Distribution.ANY,
        domain_suffix="cluster.local",
    )
    assert candidate is not None
    return candidate


@pytest.mark.proves("SV-24")
@pytest.mark.refutes("SV-24")
def test_one_object_of_a_namespace_answers() -> None:
    old, twin, young = (
        an_entry("b", created=1.0),
        an_entry("c", created=1.0),
        an_entry("a", created=2.0),
    )
    elsewhere = an_entry("z", "other", created=9.0)
    candidates = [old, twin, young, elsewhere]
    for seed in range(5):
        random.Random(seed).shuffle(candidates)
        claims = settle_claims(candidates)
        assert set(claims.winners) == {old.key, elsewhere.key}
        assert {lost.owner.name for lost in claims.lost} == {"a", "c"}
        with_service = settle_claims([*candidates, the_service()])
        assert set(with_service.winners) == {the_service().key, elsewhere.key}


@pytest.mark.proves("SV-26", "SV-6")
@pytest.mark.refutes("SV-26", "SV-6")
def test_one_winner_is_canonical() -> None:
    old, young = an_entry("a", "one", created=1.0), an_entry("b", "two", created=2.0)
    assert settle_claims([young, old]).canonical == old.key
    assert settle_claims([young, old, the_service()]).canonical == the_service().key
    loser = an_entry("c", "one", created=3.0)
    assert settle_claims([loser, young, old]).canonical == old.key


@pytest.mark.proves("SV-27")
@pytest.mark.refutes("SV-27")
def test_what_only_its_namespace_sees_is_never_canonical() -> None:
    hidden = an_entry("a", "one", created=1.0, visible=False)
    seen = an_entry("b", "two", created=2.0)
    assert settle_claims([hidden]).canonical is None
    assert settle_claims([hidden, seen]).canonical == seen.key


def entry_with_endpoint(name: str, namespace: str, created: float, host: str) -> ServiceEntry:
    return a_service_entry(
        name,
        namespace,
        hosts=(host,),
        created=created,
        endpoints=(WorkloadSpec(address="10.9.0.1"),),
    )


@pytest.mark.proves("SV-25", "SV-24", "WL-52")
@pytest.mark.refutes("SV-25", "WL-52")
@pytest.mark.parametrize("host", [HOST, "*.example.com"])
def test_the_next_takes_the_place_of_the_one_that_goes(host: str) -> None:
    mesh = Mesh()
    first = entry_with_endpoint("first", "shop", 1.0, host)
    second = entry_with_endpoint("second", "shop", 2.0, host)
    far = entry_with_endpoint("far", "other", 1.5, host)
    mesh.apply([second, far, first])
    prefix = "Kubernetes/networking.istio.io/ServiceEntry"
    assert [key for key, _ in sorted(mesh.world.workloads.items())] == [
        f"{prefix}/other/far/10.9.0.1",
        f"{prefix}/shop/first/10.9.0.1",
    ]
    services = dict(mesh.world.services.items())
    assert services[ServiceName("shop", host)].canonical
    assert not services[ServiceName("other", host)].canonical
    [problem] = mesh.problems()
    assert (problem.code, str(problem.object)) == ("hostname.duplicate", "ServiceEntry shop/second")

    mesh.apply([], removed=[("ServiceEntry", first.key)])
    assert mesh.problems() == []
    services = dict(mesh.world.services.items())
    assert services[ServiceName("shop", host)].name == "second"
    assert not services[ServiceName("shop", host)].canonical
    assert services[ServiceName("other", host)].canonical
    assert f"{prefix}/shop/second/10.9.0.1" in dict(mesh.world.workloads.items())


@pytest.mark.proves("SV-24")
def test_a_service_hides_an_older_entry_and_its_endpoints() -> None:
    mesh = Mesh()
    mesh.apply([entry_with_endpoint("first", "shop", 1.0, HOST)])
    assert len(mesh.world.workloads) == 1
    mesh.apply([a_service("web", "shop", created=50.0)])
    assert len(mesh.world.workloads) == 0
    [service] = [value for _, value in mesh.world.services.items()]
    assert service.name == "web"
