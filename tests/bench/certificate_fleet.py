"""The node proxies of the certificate benchmarks: a node's number in, what belongs to it out.

Everything follows from the number, so that processes that share no memory agree.
"""

from collections.abc import Iterator
from typing import Any

from controlplane.model.identity import Identity
from controlplane.model.resident import Resident
from tests.support.authentication import a_resident, a_status, a_token

IDENTITIES = 20
"""Service accounts with pods on one node."""

_NAMESPACES = 50
# As long as tokens of clusters are, which name pod, node and service account at length.
_PADDING = "x" * 400


def token(node: int) -> str:
    """Return the token of a node's proxy."""
    return a_token(f"node-{node}", padding=_PADDING)


def status(name: str) -> dict[str, Any]:
    """Return how the token called ``name`` is reviewed."""
    proxy = name.replace("node", "ztunnel")
    return a_status(pod=proxy, uid=f"uid-of-istio-system-{proxy}", node=name)


def identity(node: int, number: int) -> Identity:
    """Return one of the identities on a node; neighbours have most namespaces in common."""
    return Identity(
        trust_domain="cluster.local",
        namespace=f"team-{(node + number) % _NAMESPACES}",
        service_account=f"app-{number}",
    )


def residents(nodes: int) -> Iterator[Resident]:
    """Yield the pods of so many nodes: the proxy and one pod of each identity."""
    for node in range(nodes):
        name = f"node-{node}"
        yield a_resident(f"ztunnel-{node}", node=name)
        for number in range(IDENTITIES):
            its = identity(node, number)
            yield a_resident(
                f"{its.service_account}-{node}", its.namespace, its.service_account, node=name
            )
