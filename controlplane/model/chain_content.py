"""What filter chains of a waypoint are made of: everything but the names of the service they serve.

``pipeline.waypoint_chains`` gathers one for each service and one for the workloads of each
waypoint, ``encode.http_filters`` and ``encode.filter_chain`` turn them into chains. Whatever a
chain needs to know is a field here; what travels with the routes is not.
docs/protocol/waypoint-config.md WC-30, WC-50.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.model.access_log import AccessLog
from controlplane.model.authorization_provider import ReachableProvider
from controlplane.model.connection_route import ConnectionRoute
from controlplane.model.http_policy import HttpPolicy
from controlplane.model.path_normalization import PathNormalization
from controlplane.model.token_rule import TokenRule

_FAILURES: Final = AccessLog()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainContent:
    """What the chains of one service are made of.

    ``provider`` is whom policies of action CUSTOM ask. ``names_client`` tells the application who
    the client is. ``connection_policies`` are for connections that are not HTTP, None where nothing
    is known to be allowed. ``token_rules`` say whose tokens are taken.
    ``connection_routes`` say where bytes go that are not for the service itself, by port.
    """

    provider: ReachableProvider | None = None
    names_client: bool = False
    connection_policies: tuple[HttpPolicy, ...] | None = None
    token_rules: tuple[TokenRule, ...] = ()
    access_log: AccessLog = _FAILURES
    connection_routes: tuple[ConnectionRoute, ...] = ()
    path_normalization: PathNormalization = PathNormalization.BASE
