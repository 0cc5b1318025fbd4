"""Addresses and names inside resources: checked values in, wire values and aliases out.

Whatever a node proxy would reject (docs/protocol/messages.md MSG-4 to MSG-8) is a ValueError here;
the encoders turn it into an EncodeError that carries the resource's name.
"""

from functools import lru_cache
from typing import Final

from controlplane.model.names import Name, ServiceName
from controlplane.model.network import NetworkAddress, text_from_address
from controlplane.model.workload import GatewayAddress, NamespacedHostname
from controlplane.pb import workload_pb2

# Values that many resources share are encoded once: the bound keeps the memory of a mesh that
# changes for months flat.
SHARED: Final = 4096
_MAX_PORT: Final = 0xFFFF


def packed(address: bytes) -> bytes:
    """Return ``address`` when it is 4 or 16 bytes long, else raise ValueError."""
    if len(address) not in (4, 16):
        raise ValueError(f"an address of {len(address)} bytes")
    return address


def prefix_length(address: bytes, length: int) -> int:
    """Return ``length`` when the packed ``address`` has as many bits, else raise ValueError."""
    if not 0 <= length <= len(address) * 8:
        raise ValueError(f"a prefix of {length} bits in an address of {len(address)} bytes")
    return length


def port(number: int) -> int:
    """Return ``number`` when it is 0 (unset) or a port, else raise ValueError."""
    if not 0 <= number <= _MAX_PORT:
        raise ValueError(f"port {number}")
    return number


@lru_cache(maxsize=SHARED)
def resource_name(name: Name | ServiceName) -> str:
    """Return ``<namespace>/<name>``; raise ValueError when that could be read in two ways."""
    namespace, rest = name
    if not namespace or not rest:
        raise ValueError("a namespace or name is empty")
    if "/" in namespace or "/" in rest:
        raise ValueError("a slash inside a namespace or name")
    return f"{namespace}/{rest}"


def workload_alias(network: str, address: bytes) -> str:
    """Return ``<network>/<ip>``, the name on-demand clients may ask by."""
    if len(address) == 4:
        first, second, third, fourth = address
        return f"{network}/{first}.{second}.{third}.{fourth}"
    return f"{network}/{text_from_address(address)}"


def fill_network_address(message: workload_pb2.NetworkAddress, address: NetworkAddress) -> None:
    """Set every field of ``message``; the length only when ``address`` is a block."""
    message.network = address.network
    message.address = packed(address.address)
    if address.length is not None:
        message.length = prefix_length(address.address, address.length)


@lru_cache(maxsize=SHARED)
def gateway_bytes(gateway: GatewayAddress) -> bytes:
    """Return the serialized GatewayAddress; raise ValueError when it leads nowhere."""
    message = workload_pb2.GatewayAddress(hbone_mtls_port=port(gateway.hbone_mtls_port))
    destination = gateway.destination
    if isinstance(destination, NetworkAddress):
        fill_network_address(message.address, destination)
    elif isinstance(destination, NamespacedHostname):
        message.hostname.namespace = destination.namespace
        message.hostname.hostname = destination.hostname
        # A namespace and hostname that are both empty are still a destination on the wire, but
        # one that nothing answers to.
        if not destination.hostname:
            raise ValueError("a gateway without a hostname")
    else:
        raise ValueError("a gateway without a destination")  # noqa: TRY004 - see the docstring
    return message.SerializeToString(deterministic=True)
