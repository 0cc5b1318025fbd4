"""Who is let in: request headers in, an authenticated caller out, checked against its node.

Source: docs/protocol/discovery.md XDS-3, docs/protocol/authentication.md AU-50 to AU-54.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.authentication.caller import Authenticator, Caller, Metadata
from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    MalformedCredentialsError,
)
from controlplane.model.names import Name
from controlplane.model.resident import LIVE_PHASES, Resident
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.residents import Residents
from controlplane.xds.errors import (
    DiscoveryError,
    ForbiddenError,
    MalformedRequestError,
    NotServingError,
    TooManyStreamsError,
    UnauthenticatedError,
)
from controlplane.xds.node import Node

NODE_PROXY: Final = "ztunnel"
WAYPOINT: Final = "waypoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who is calling, and which nodes they may speak for.

    ``trusted`` are the accounts of node proxies, each on the node its token is bound to. Tokens
    that do not name their node are bound through their pod, by the ``residents`` of their cluster.
    """

    authenticator: Authenticator
    trusted: frozenset[Name] = frozenset()
    residents: Mapping[str, Residents] = field(default_factory=dict)

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        """Return the caller of a stream, by its request headers and transport address.

        Raises:
            DiscoveryError: it cannot be told; which kind says what the client should do.
        """
        try:
            return await self.authenticator.authenticate(metadata, peer)
        except AuthenticationError as error:
            raise _refusal(error) from error

    def authorize(self, caller: Caller, node: Node) -> WaypointPod | None:
        """Check that ``caller`` may speak for ``node``: its namespace, account and own node.

        Returns which waypoint a pod of a Gateway is of and where it runs, None for a node proxy. It
        is told by what we know of the caller's pod, never by what the client says (WS-1).

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
        if node.kind == NODE_PROXY:
            self._authorize_node_proxy(caller, node)
            return None
        if node.kind == WAYPOINT:
            return self._waypoint_pod(caller)
        raise ForbiddenError(f"authorization failed: nodes of kind {node.kind} are not served")

    def declared_waypoint(self, node: Node) -> WaypointPod | None:
        """Return the pod of a waypoint that an unauthenticated client says it is, if we know it.

        For loopback ports alone, where nobody is asked who they are (WS-2).
        """
        if node.kind != WAYPOINT:
            return None
        for residents in self.residents.values():
            pod = residents.pod(Name(node.namespace, node.pod))
            if pod is not None and pod.gateway and pod.phase in LIVE_PHASES:
                return _waypoint_pod(pod)
        return None

    def node_of(self, caller: Caller) -> str:
        """Return the node that ``caller`` runs on, "" when that cannot be told for certain."""
        pod = self._pod_of(caller)
        if pod is None:
            return caller.node_name
        if caller.node_name and pod.node and caller.node_name != pod.node:
            return ""
        return caller.node_name or pod.node

    def _pod_of(self, caller: Caller) -> Resident | None:
        """Return the pod that the caller's token is bound to, if we know it."""
        residents = self.residents.get(caller.cluster)
        if residents is None or not caller.is_bound_to_pod:
            return None
        pod = residents.pod(caller.pod)
        return pod if pod is not None and pod.uid == caller.pod_uid else None

    def _waypoint_pod(self, caller: Caller) -> WaypointPod:
        pod = self._pod_of(caller)
        if (
            pod is None
            or not pod.gateway
            or pod.phase not in LIVE_PHASES
            or pod.service_account != caller.service_account
        ):
            raise ForbiddenError("authorization failed: the caller is no pod of a Gateway")
        return _waypoint_pod(pod)

    def _authorize_node_proxy(self, caller: Caller, node: Node) -> None:
        if caller.account not in self.trusted:
            raise ForbiddenError(
                f"authorization failed: {caller.account} is not the account of a node proxy"
            )
        own = self.node_of(caller)
        if not own or node.name != own:
            raise ForbiddenError("authorization failed: a node proxy speaks for another node")


def _waypoint_pod(pod: Resident) -> WaypointPod:
    return WaypointPod(Name(pod.namespace, pod.gateway), pod.node)


def _refusal(error: AuthenticationError) -> DiscoveryError:
    """Return what a client is told of failed authentication: the kind of failure, never why."""
    text, detail = "request authenticate failure", error.reason.value
    if isinstance(error, MalformedCredentialsError):
        return MalformedRequestError(text, detail=detail)
    if isinstance(error, AuthenticationLimitedError):
        return TooManyStreamsError(text, detail=detail)
    if isinstance(error, AuthenticationUnavailableError):
        return NotServingError(text, detail=detail)
    return UnauthenticatedError(text, detail=detail)
