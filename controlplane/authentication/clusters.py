"""Which cluster's API server verifies a token: the ``clusterid`` header in, a cluster id out.

The caller writes the header, so it only chooses who verifies; the id resolved here is what goes on.
docs/protocol/authentication.md AU-10 to AU-12.
"""

from dataclasses import dataclass, field
from typing import Final

from controlplane.authentication.caller import Metadata
from controlplane.authentication.errors import (
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)
from controlplane.authentication.token_shape import header_values

HEADER: Final = "clusterid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The clusters of the mesh: the primary, others by id, and other names of any of them."""

    primary: str
    others: frozenset[str] = frozenset()
    aliases: dict[str, str] = field(default_factory=dict)

    def resolve(self, claimed: str) -> str:
        """Return the id of the cluster that a caller claims to be in, the primary for "".

        Raises:
            UnauthenticatedError: there is no such cluster.
        """
        if not claimed or claimed == self.primary:
            return self.primary
        if claimed in self.others:
            return claimed
        cluster = self.aliases.get(claimed)
        if cluster is None:
            raise UnauthenticatedError(Reason.UNKNOWN_CLUSTER)
        return cluster


def claimed_cluster(metadata: Metadata) -> str:
    """Return what a request says its cluster is; "" when it says nothing.

    Raises:
        MalformedCredentialsError: it says so more than once.
    """
    values = header_values(metadata, HEADER)
    if len(values) > 1:
        raise MalformedCredentialsError(Reason.SEVERAL_CLUSTERS)
    return values[0] if values else ""
