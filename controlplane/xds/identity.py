"""Who is calling: what a transport knows in, an identity out, checked against a node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controlplane.xds.errors import ForbiddenError
from controlplane.xds.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated service account."""

    namespace: str
    service_account: str


class Authenticator(Protocol):
    """Tells who is calling."""

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """Return the caller of a stream, by its request headers and transport address.

        Raises:
            UnauthenticatedError: the credentials are missing or not valid.
        """
        ...


def authorize(caller: Caller, node: Node) -> None:
    """Check that ``caller`` may speak for ``node``: its namespace, and its account when declared.

    Raises:
        ForbiddenError: it may not.
    """
    if caller.namespace != node.namespace:
        raise ForbiddenError(
            f"authorization failed: caller of namespace {caller.namespace} "
            f"speaks for a node of namespace {node.namespace}"
        )
    if node.service_account and caller.service_account != node.service_account:
        raise ForbiddenError(
            f"authorization failed: service account {caller.service_account} "
            f"speaks for {node.service_account}"
        )
