"""The trust domains of the mesh: its own and those it is also known by.

The mesh configuration comes in. Waypoints accept the certificates of all of them, and policies that
name one mean all. Node proxies know one only. docs/protocol/http-policies.md HP-22;
docs/protocol/waypoint-config.md WC-14.
"""

from collections.abc import Collection
from typing import Final

from controlplane.dataflow import Collection as Values
from controlplane.dataflow import Fetch, Graph
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.inputs import MESH
from controlplane.model.http_policy import Attribute, Value, Wildcard
from controlplane.model.names import Name
from controlplane.model.policy import MatchType, StringMatch

DEFAULT_TRUST_DOMAIN: Final = "cluster.local"

_NAMED: Final = (MatchType.EXACT, MatchType.PREFIX)


class TrustDomains:
    """Every trust domain of the mesh, its own first."""

    def __init__(self, values: Values[Name, tuple[str, ...]]) -> None:
        self._values = values

    def of(self, fetch: Fetch) -> tuple[str, ...]:
        """Return them; a mesh that is not configured has the usual one."""
        return fetch.one(self._values, MESH) or (DEFAULT_TRUST_DOMAIN,)


def build_trust_domains(graph: Graph, configured: Values[Name, MeshConfig]) -> TrustDomains:
    """Declare the trust domains of the mesh on ``graph``."""
    return TrustDomains(
        graph.derive(
            "trust domains",
            configured,
            lambda _, config: (config.trust_domain, *config.trust_domain_aliases),
        )
    )


def in_every_domain(
    attribute: Attribute, value: Value, trust_domains: Collection[str]
) -> tuple[Value, ...]:
    """Return ``value`` as it reads in each of ``trust_domains``, if it names one of them whole."""
    match attribute, value:
        case Attribute.PRINCIPAL, StringMatch(kind, text) if kind in _NAMED and "/" in text:
            domain, _, rest = text.partition("/")
            if domain in trust_domains:
                return tuple(StringMatch(kind, f"{each}/{rest}") for each in trust_domains)
        case Attribute.TRUST_DOMAIN, Wildcard((domain,)) if domain in trust_domains:
            return tuple(Wildcard((each,)) for each in trust_domains)
    return (value,)
