"""What is near to pods of waypoints, judged by what node proxies in their place would do."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.lab.ztunnel.decode_workload import address_from_bytes
from controlplane.lab.ztunnel.network import NamespacedHostname
from controlplane.lab.ztunnel.route import Router
from controlplane.lab.ztunnel.state import MeshState
from controlplane.snapshots.scope import ENDPOINT_TYPE
from tests.support.builders import HBONE, a_node, a_pod, a_service, a_waypoint
from tests.support.waypoint_snapshots import Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
HOSTNAME = "web.shop.svc.cluster.local"
WEB = f"inbound-vip|80|http|{HOSTNAME}"
INSTANCE = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
NODES = ("a", "b", "c", "d")
LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"traffic_distribution": "PreferClose"},
    {"traffic_distribution": "PreferSameZone"},
    {"traffic_distribution": "PreferSameNode"},
    {"internal_traffic_policy": "Local"},
    {"internal_traffic_policy": "Local", "publish_not_ready_addresses": True},
    {"traffic_distribution": "PreferSameNode", "publish_not_ready_addresses": True},
)
WORDS = st.sampled_from(["", "x", "y"])
PODS = st.lists(st.tuples(st.sampled_from(NODES), st.booleans()), max_size=6)


class Remembering(Random):
    """Chance that notes what it chose from."""

    chosen_from: Sequence[Any] = ()

    def choices(self, population: Any, *_: Any, **__: Any) -> Any:
        self.chosen_from = population
        return [population[0]]


def judged(waypoints: Waypoints, node: str) -> set[str]:
    """Return the addresses that the node proxy's routing has for the waypoint's pod."""
    state = MeshState()
    bodies = (
        discovery_pb2.Resource.FromString(each.body).resource.value
        for each in waypoints.catalog.addresses().resources()
    )
    state.apply_addresses(map(address_from_bytes, bodies), ())
    chance = Remembering()
    (client,) = (
        each for each in state.workloads.by_uid.values() if each.name == f"waypoint-{node}"
    )
    service = state.services.by_key[NamespacedHostname("shop", HOSTNAME)]
    Router(state=state, random=chance).endpoint(client, service, 80)
    return {str(workload.addresses[0]) for workload, _ in chance.chosen_from}


def used(waypoints: Waypoints, node: str) -> set[str]:
    """Return the addresses that an Envoy sends to: healthy ones of the first priority with any."""
    found: dict[int, set[str]] = {}
    document = waypoints.documents(ENDPOINT_TYPE, node=node)[WEB]
    for group in document.get("endpoints", ()):
        tier = found.setdefault(group.get("priority", 0), set())
        for each in group["lb_endpoints"]:
            if each.get("health_status") != "UNHEALTHY":
                address = each["endpoint"]["address"]["envoy_internal_address"]["endpoint_id"]
                tier.add(address.partition(":")[0])
    assert sorted(found) == list(range(len(found)))
    if len(found) > 1:
        assert document["policy"]["overprovisioning_factor"] >= 100 * sum(map(len, found.values()))
    return next((found[priority] for priority in sorted(found) if found[priority]), set())


@pytest.mark.timeout(120)
def test_waypoints_choose_as_node_proxies_do() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=len(NODES), max_size=len(NODES)),
        PODS,
        st.sampled_from(ASKED),
    )
    def check(
        places: list[tuple[str, ...]], pods: list[tuple[str, bool]], asked: dict[str, Any]
    ) -> None:
        waypoints = Waypoints()
        waypoints.apply(
            *(
                a_node(
                    node,
                    labels={key: text for key, text in zip(LABELS, place, strict=True) if text},
                )
                for node, place in zip(NODES, places, strict=True)
            ),
            a_waypoint("waypoint", "shop"),
            *(
                a_pod(f"waypoint-{node}", "shop", labels=INSTANCE, ips=[f"10.1.0.{at}"], node=node)
                for at, node in enumerate(NODES, 1)
            ),
            a_service("web", "shop", labels=USE, selector={"app": "web"}, **asked),
            *(
                a_pod(
                    f"web-{number}",
                    "shop",
                    labels={"app": "web"},
                    annotations=HBONE,
                    ips=[f"10.0.0.{number}"],
                    node=node,
                    ready=ready,
                )
                for number, (node, ready) in enumerate(pods, 1)
            ),
        )
        for node in NODES:
            chosen = used(waypoints, node)
            assert chosen == judged(waypoints, node)
            seen["some" if chosen else "none"] += 1
            seen["part"] += 0 < len(chosen) < len(pods)

    check()
    assert min(seen["some"], seen["none"], seen["part"]) > 20
