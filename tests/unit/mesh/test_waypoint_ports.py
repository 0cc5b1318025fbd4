import pytest

from controlplane.manifests.core import ServicePort
from controlplane.manifests.istio import ServiceEntryPort
from controlplane.mesh.waypoint_ports import served_entry_ports, served_service_ports
from controlplane.model.waypoint_traffic import Layer, ServedPort
from controlplane.model.workload import AppProtocol

HTTP, TCP = (Layer.HTTP,), (Layer.TCP,)
EITHER = (Layer.HTTP, Layer.TCP)


def _layers(name: str, port: int = 80, **rest: str) -> tuple[Layer, ...]:
    (served,) = served_service_ports([ServicePort(port=port, name=name, **rest)])
    return served.layers


@pytest.mark.proves("WC-7")
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("http", HTTP),
        ("http-web", HTTP),
        ("http2", HTTP),
        ("grpc", HTTP),
        ("grpc-web", HTTP),
        ("http_proxy", HTTP),
        ("tcp", TCP),
        ("tls", TCP),
        ("https", TCP),
        ("mongo", TCP),
        ("mysql-main", TCP),
        ("redis", TCP),
        ("", EITHER),
        ("web", EITHER),
    ],
)
def test_the_name_of_a_port_says_what_is_spoken(name: str, layers: tuple[Layer, ...]) -> None:
    assert _layers(name) == layers


@pytest.mark.proves("WC-7")
def test_a_well_known_port_may_say_it() -> None:
    assert _layers("", 3306) == TCP


@pytest.mark.refutes("WC-7")
def test_the_name_does_not_count_where_the_port_says_it_outright() -> None:
    assert _layers("tcp", app_protocol="http") == HTTP
    assert _layers("http", app_protocol="redis") == TCP
    assert _layers("mongo", app_protocol="kubernetes.io/h2c") == HTTP


@pytest.mark.proves("WC-6")
def test_a_waypoint_accepts_tcp_ports() -> None:
    ports = [
        ServicePort(port=90, name="http"),
        ServicePort(port=80, name="tcp"),
        ServicePort(port=80, name="http"),
    ]
    assert served_service_ports(ports) == (
        ServedPort(80, AppProtocol.TCP),
        ServedPort(90, AppProtocol.HTTP11),
    )


@pytest.mark.refutes("WC-6")
def test_other_transports_and_impossible_ports_are_left_out() -> None:
    ports = [
        ServicePort(port=53, name="dns", protocol="UDP"),
        ServicePort(port=54, name="x", protocol="SCTP"),
        ServicePort(port=0, name="http"),
        ServicePort(port=70000, name="http"),
    ]
    assert served_service_ports(ports) == ()
    assert served_entry_ports([ServiceEntryPort(number=53, name="dns", protocol="UDP")]) == ()


def test_entries_name_the_protocol_outright() -> None:
    served = served_entry_ports(
        [
            ServiceEntryPort(number=80, name="x", protocol="GRPC-Web"),
            ServiceEntryPort(number=90, name="x", protocol="MySQL"),
            ServiceEntryPort(number=95, name="x", protocol="HTTP2"),
        ]
    )
    assert [port.layers for port in served] == [HTTP, TCP, HTTP]
