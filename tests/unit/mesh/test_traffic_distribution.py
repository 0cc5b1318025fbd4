import pytest

from controlplane.mesh.traffic_distribution import (
    PASSTHROUGH,
    Distribution,
    annotated_distribution,
    own_distribution,
    service_load_balancing,
)
from controlplane.model.service import (
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    LoadBalancingScope,
)
from tests.support.builders import a_service

ZONE = (LoadBalancingScope.NETWORK, LoadBalancingScope.REGION, LoadBalancingScope.ZONE)
NODE = (*ZONE, LoadBalancingScope.SUBZONE, LoadBalancingScope.NODE)
ANNOTATION = "networking.istio.io/traffic-distribution"


@pytest.mark.proves("SV-9")
@pytest.mark.refutes("SV-9")
def test_preferences_are_failover_lists() -> None:
    service = a_service()
    balancing = {each: service_load_balancing(service, each) for each in Distribution}
    assert balancing == {
        Distribution.ANY: None,
        Distribution.SAME_ZONE: LoadBalancing(ZONE, LoadBalancingMode.FAILOVER),
        Distribution.SAME_NODE: LoadBalancing(NODE, LoadBalancingMode.FAILOVER),
    }


@pytest.mark.proves("SV-8")
@pytest.mark.refutes("SV-8")
def test_local_traffic_policy_beats_distribution() -> None:
    local = a_service(internal_traffic_policy="Local")
    expected = LoadBalancing((LoadBalancingScope.NODE,), LoadBalancingMode.STRICT)
    assert service_load_balancing(local, Distribution.SAME_ZONE) == expected
    cluster = a_service(internal_traffic_policy="Cluster")
    assert service_load_balancing(cluster, Distribution.ANY) is None


@pytest.mark.proves("SV-11")
@pytest.mark.refutes("SV-11")
def test_unready_workloads_are_used_by_the_service_that_asks_for_it_alone() -> None:
    asking = a_service(publish_not_ready_addresses=True)
    for distribution in Distribution:
        balancing = service_load_balancing(asking, distribution)
        assert balancing is not None
        assert balancing.health_policy is HealthPolicy.ALLOW_ALL
        plain = service_load_balancing(a_service(), distribution)
        assert plain is None or plain.health_policy is HealthPolicy.ONLY_HEALTHY
    strict = a_service(publish_not_ready_addresses=True, internal_traffic_policy="Local")
    assert service_load_balancing(strict, Distribution.ANY) == LoadBalancing(
        (LoadBalancingScope.NODE,), LoadBalancingMode.STRICT, HealthPolicy.ALLOW_ALL
    )


@pytest.mark.proves("SV-10")
@pytest.mark.refutes("SV-10")
def test_the_field_comes_before_the_annotation() -> None:
    annotations = {ANNOTATION: "prefersamenode"}
    for field, expected in (
        ("PreferClose", Distribution.SAME_ZONE),
        ("PreferSameZone", Distribution.SAME_ZONE),
        ("PreferSameNode", Distribution.SAME_NODE),
        ("preferclose", Distribution.SAME_NODE),
        ("Unknown", Distribution.SAME_NODE),
        ("", Distribution.SAME_NODE),
    ):
        service = a_service(traffic_distribution=field, annotations=annotations)
        assert own_distribution(service) is expected, field


@pytest.mark.refutes("SV-10")
def test_an_unknown_annotation_asks_for_no_preference() -> None:
    assert annotated_distribution({ANNOTATION: "Nearby"}) is Distribution.ANY
    assert annotated_distribution({ANNOTATION: ""}) is None
    assert annotated_distribution({}) is None


def test_passthrough_uses_whatever_the_client_asked_for() -> None:
    assert PASSTHROUGH.mode is LoadBalancingMode.PASSTHROUGH
    assert PASSTHROUGH.health_policy is HealthPolicy.ALLOW_ALL
    assert PASSTHROUGH.routing_preference == ()
