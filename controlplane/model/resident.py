"""A resident: one pod as the CA and the discovery server must know it, ended pods included.

``mesh.residents`` makes one of every pod; ``snapshots.residents`` keeps the committed ones.
"""

from dataclasses import dataclass
from typing import NamedTuple

from controlplane.model.names import Name

LIVE_PHASES = frozenset({"Pending", "Running"})


class NodeAccount(NamedTuple):
    """A service account on one node: whose certificates the node's proxy may hold."""

    node: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One pod.

    ``node`` is "" until it is scheduled. ``ended_at`` is Unix seconds, None while it runs and when
    nobody told. ``gateway`` is the Gateway it is an instance of, "" for ordinary pods.
    Source: docs/protocol/authentication.md NA-n.
    """

    uid: str
    namespace: str
    name: str
    node: str
    service_account: str
    phase: str
    ended_at: float | None = None
    deleting: bool = False
    gateway: str = ""

    @property
    def key(self) -> Name:
        """Return the name of the pod."""
        return Name(self.namespace, self.name)

    @property
    def place(self) -> NodeAccount:
        """Return the account it runs as and where."""
        return NodeAccount(self.node, self.namespace, self.service_account)

    def justifies_certificates(self, now: float, grace: float) -> bool:
        """Return whether its node may hold certificates for it at ``now`` (Unix seconds).

        An ended pod does for ``grace`` seconds more; one that does not say when it ended does not.
        """
        if self.phase in LIVE_PHASES:
            return True
        return self.ended_at is not None and now - self.ended_at < grace
