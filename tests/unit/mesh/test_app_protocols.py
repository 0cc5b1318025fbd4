import pytest

from controlplane.manifests.core import ServicePort
from controlplane.mesh.app_protocols import entry_port_protocol, service_port_protocol
from controlplane.model.workload import AppProtocol


@pytest.mark.proves("SV-13")
@pytest.mark.parametrize(
    ("name", "app_protocol", "expected"),
    [
        ("http", "", AppProtocol.HTTP11),
        ("HTTP-web", "", AppProtocol.HTTP11),
        ("http2-x", "", AppProtocol.HTTP2),
        ("grpc", "", AppProtocol.GRPC),
        ("https-x", "", AppProtocol.TLS),
        ("tls", "", AppProtocol.TLS),
        ("tcp-x-y", "", AppProtocol.TCP),
        ("http", "tcp", AppProtocol.TCP),
        ("x", "kubernetes.io/h2c", AppProtocol.HTTP2),
        ("x", "kubernetes.io/ws", AppProtocol.HTTP11),
        ("x", "kubernetes.io/wss", AppProtocol.TLS),
    ],
)
def test_protocol_of_a_service_port(name: str, app_protocol: str, expected: AppProtocol) -> None:
    port = ServicePort(port=80, name=name, app_protocol=app_protocol)
    assert service_port_protocol(port) is expected


@pytest.mark.refutes("SV-13")
@pytest.mark.parametrize(
    "name", ["", "web", "httpx", "web-http", "http_proxy", "mongo", "redis", "mysql", "udp"]
)
def test_other_names_say_nothing(name: str) -> None:
    assert service_port_protocol(ServicePort(port=80, name=name)) is AppProtocol.UNKNOWN


@pytest.mark.refutes("SV-13")
def test_an_unknown_app_protocol_hides_the_name() -> None:
    port = ServicePort(port=80, name="http", app_protocol="example.com/own")
    assert service_port_protocol(port) is AppProtocol.UNKNOWN


@pytest.mark.proves("SV-14")
@pytest.mark.refutes("SV-14")
def test_udp_and_grpc_web_have_none() -> None:
    udp = ServicePort(port=80, name="http", protocol="UDP")
    assert service_port_protocol(udp) is AppProtocol.UNKNOWN
    for name in ("grpc-web", "GRPC-Web-1"):
        assert service_port_protocol(ServicePort(port=80, name=name)) is AppProtocol.UNKNOWN
    assert service_port_protocol(ServicePort(port=80, name="grpc-x")) is AppProtocol.GRPC
    dns = ServicePort(port=53, name="dns", protocol="UDP")
    assert service_port_protocol(dns) is AppProtocol.UNKNOWN


@pytest.mark.proves("SV-15")
@pytest.mark.refutes("SV-15")
@pytest.mark.parametrize("number", [25, 53, 3306, 27017, 80])
def test_well_known_ports_are_tcp_when_their_name_says_nothing(number: int) -> None:
    expected = AppProtocol.UNKNOWN if number == 80 else AppProtocol.TCP
    assert service_port_protocol(ServicePort(port=number, name="thing")) is expected
    assert service_port_protocol(ServicePort(port=number)) is expected
    assert service_port_protocol(ServicePort(port=number, name="mysql")) is AppProtocol.UNKNOWN
    assert service_port_protocol(ServicePort(port=number, name="http")) is AppProtocol.HTTP11


@pytest.mark.proves("SV-21")
@pytest.mark.refutes("SV-21")
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("HTTP", AppProtocol.HTTP11),
        ("http2", AppProtocol.HTTP2),
        ("GRPC", AppProtocol.GRPC),
        ("HTTPS", AppProtocol.TLS),
        ("TLS", AppProtocol.TLS),
        ("TCP", AppProtocol.TCP),
        ("MONGO", AppProtocol.UNKNOWN),
        ("GRPC-Web", AppProtocol.UNKNOWN),
        ("http-x", AppProtocol.UNKNOWN),
        ("", AppProtocol.UNKNOWN),
    ],
)
def test_protocol_of_an_entry_port_is_named_outright(protocol: str, expected: AppProtocol) -> None:
    assert entry_port_protocol(protocol) is expected
