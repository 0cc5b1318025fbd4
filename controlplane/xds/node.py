"""Who a client says it is: the node of its first request in, a ``Node`` out."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from controlplane.xds.errors import MalformedRequestError

NODE_TYPES = frozenset({"sidecar", "router", "waypoint", "ztunnel", "agentgateway"})

# The first ztunnel release that reports what a dry-run policy would do instead of enforcing it.
_KNOWS_DRY_RUN = (1, 29)

# Before the version of a stock Envoy; that of Istio stands alone.
_ENVOY = "envoy-"

# Clients say what they like, so numbers are short. What follows a dot behind two does not matter.
_NUMBERS = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})(?=\.|\Z)(?:\.([0-9]{1,6})(?![0-9]))?")

# Releases of Envoy, by line, that take dots with parameters for dots (CVE-2026-73551).
_RESOLVE_PARAMETERS = ((1, 38, 4), (1, 39, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A client as it describes itself (docs/protocol/discovery.md XDS-2).

    ``name`` is the Kubernetes node it runs on, ``pod`` its pod, ``cluster`` the id of its cluster;
    "" when it does not say. ``service_account`` is "" unless sent. ``version`` is that of Istio,
    or ``envoy-`` and that of a stock Envoy.
    """

    id: str
    kind: str
    namespace: str
    name: str = ""
    service_account: str = ""
    version: str = ""
    pod: str = ""
    cluster: str = ""

    @property
    def enforces_policies(self) -> bool:
        """Return whether this client evaluates Authorization resources itself."""
        return self.kind == "ztunnel"

    @property
    def knows_dry_run(self) -> bool:
        """Return whether its declared version does not enforce dry-run policies.

        A client that declares no version counts as old.
        """
        return _release(self.version)[:2] >= _KNOWS_DRY_RUN

    @property
    def mistakes_paths(self) -> bool:
        """Return whether it is an Envoy to which ``/..;/a`` is another path than ``/a``.

        Applications may resolve what it does not, so policies about paths can be got around
        (docs/protocol/http-policies.md HP-31).
        """
        release = _release(self.version.removeprefix(_ENVOY))
        if not release or not self.version.startswith(_ENVOY):
            return False
        of_its_line = (each for each in _RESOLVE_PARAMETERS if each[:2] == release[:2])
        return release < next(of_its_line, _RESOLVE_PARAMETERS[0])


def read_node(node: Any) -> Node:
    """Read an ``envoy.config.core.v3.Node``.

    Raises:
        MalformedRequestError: its id is not ``kind~ip~name.namespace~domain`` with a known kind,
            or there is no valid address in its metadata or id.
    """
    parts = node.id.split("~")
    if len(parts) != 4:
        raise MalformedRequestError("invalid node id: it does not have four parts")
    kind, address, name, domain = parts
    if kind not in NODE_TYPES:
        raise MalformedRequestError(f"invalid node id: unknown type {kind[:40]!r}")
    if not name:
        raise MalformedRequestError("invalid node id: no name")
    fields = node.metadata.fields
    namespace = _text(fields, "NAMESPACE") or domain.split(".")[0]
    declared = _text(fields, "INSTANCE_IPS").split(",")
    if not any(map(_is_address, [*declared, address])):
        raise MalformedRequestError("invalid node: no valid IP address in metadata or id")
    return Node(
        id=node.id,
        kind=kind,
        namespace=namespace,
        name=_text(fields, "NODE_NAME"),
        service_account=_text(fields, "SERVICE_ACCOUNT"),
        version=_text(fields, "ISTIO_VERSION") or _envoy_version(node),
        pod=name.removesuffix(f".{namespace}"),
        cluster=_text(fields, "CLUSTER_ID"),
    )


def _text(fields: Any, key: str) -> str:
    """Return a metadata value; "" when it is missing or not a string."""
    return str(fields[key].string_value) if key in fields else ""


def _envoy_version(node: Any) -> str:
    """Return the version that a stock Envoy tells of itself; "" for every other client."""
    if node.user_agent_name != "envoy":
        return ""
    told = node.user_agent_build_version.version
    return f"{_ENVOY}{told.major_number}.{told.minor_number}.{told.patch}"


def _release(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version such as ``1.30.1`` or ``1.30``; () of any other."""
    found = _NUMBERS.match(version)
    return tuple(int(each) for each in found.groups(default="0")) if found else ()


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip())
    except ValueError:
        return False
    return True
