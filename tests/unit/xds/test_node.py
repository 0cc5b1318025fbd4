"""What a client says of itself."""

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2

from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.node import Node, read_node
from tests.support.discovery import a_request, introduced


def a_node(**metadata: Any) -> Any:
    return introduced(a_request(), **metadata).node


def test_a_node_is_read() -> None:
    node = read_node(a_node(node_name="n1", SERVICE_ACCOUNT="ztunnel", ISTIO_VERSION="1.30.1"))
    assert (node.kind, node.namespace, node.name) == ("ztunnel", "istio-system", "n1")
    assert (node.service_account, node.knows_dry_run) == ("ztunnel", True)


def test_the_namespace_falls_back_to_the_domain() -> None:
    node = a_node()
    del node.metadata.fields["NAMESPACE"]
    assert read_node(node).namespace == "istio-system"


def test_one_valid_address_is_enough() -> None:
    node = a_node()
    node.id = "ztunnel~~a.b~c.svc"
    node.metadata.update({"INSTANCE_IPS": "nonsense,fd00::1"})
    assert read_node(node).id == node.id


def test_metadata_of_other_types_counts_as_missing() -> None:
    node = a_node()
    node.metadata.update({"NODE_NAME": 5, "ISTIO_VERSION": {"a": 1}, "INSTANCE_IPS": True})
    read = read_node(node)
    assert (read.name, read.version) == ("", "")


def test_errors_quote_little_of_what_was_sent() -> None:
    node = a_node()
    node.id = "x" * 10_000 + "~10.0.0.1~a.b~c"
    with pytest.raises(MalformedRequestError) as raised:
        read_node(node)
    assert len(str(raised.value)) < 100


def test_a_stock_envoy_tells_its_version() -> None:
    message = base_pb2.Node(id="waypoint~10.0.0.1~way-1.shop~shop.svc.cluster.local")
    message.user_agent_name = "envoy"
    message.user_agent_build_version.version.major_number = 1
    message.user_agent_build_version.version.minor_number = 40
    assert read_node(message).version == "envoy-1.40.0"
    assert not read_node(message).knows_dry_run
    message.user_agent_name = "another"
    assert read_node(message).version == ""


@pytest.mark.proves("HP-31")
@pytest.mark.parametrize("version", ["1.37.9", "1.38.0", "1.38.3", "1.39.0"])
def test_an_envoy_that_does_not_resolve_all_dots_is_known(version: str) -> None:
    node = Node(id="", kind="waypoint", namespace="shop", version=f"envoy-{version}")
    assert node.mistakes_paths


@pytest.mark.refutes("HP-31")
@pytest.mark.parametrize(
    "version",
    [
        *(f"envoy-{each}" for each in ("1.38.4", "1.38.10", "1.39.1", "1.40.0", "2.0.0")),
        *("1.30.1", "", "envoy-", "envoy-1", "envoy-x.y.z", "1.2.3-envoy-1.2.3"),
        "envoy-1." + "9" * 5_000,
    ],
)
def test_others_are_not_taken_for_one(version: str) -> None:
    assert not Node(id="", kind="waypoint", namespace="shop", version=version).mistakes_paths


@pytest.mark.parametrize(
    ("version", "knows"),
    [
        *((each, True) for each in ("1.29.0", "1.29", "1.29.x", "1.31.0-dev", "2.0.1")),
        *(
            (each, False)
            for each in ("1.28.9", "1", "x.y", "1.30-alpha.1", "1.29\n", "envoy-1.40.0")
        ),
        *((each, False) for each in ("9" * 5_000 + ".1", "1." + "9" * 5_000)),
    ],
)
def test_a_version_says_whether_dry_runs_are_known(version: str, knows: bool) -> None:
    assert Node(id="", kind="ztunnel", namespace="a", version=version).knows_dry_run is knows
