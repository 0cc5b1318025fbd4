"""The types of one waypoint's stream, in the order that drops nothing.

Clusters first, then their endpoints, secrets, listeners and routes; a cluster goes away last, when
nothing that the client accepted names it any more. docs/protocol/waypoint-sessions.md WS-10 to 16.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controlplane.clock import Clock
from controlplane.encode.envelope import SECRET_TYPE
from controlplane.encode.no_endpoints import encode_no_endpoints
from controlplane.encode.no_routes import encode_no_routes
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    TableKey,
)
from controlplane.xds.address_hold import Expected
from controlplane.xds.secret_subscription import SecretSubscription
from controlplane.xds.settings import XdsSettings
from controlplane.xds.subscription import Nonces, Subscription, UnservedSubscription
from controlplane.xds.waypoint_subscription import WaypointSubscription


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTools:
    """What every subscription of one stream shares."""

    catalog: Catalog
    settings: XdsSettings
    clock: Clock
    nonces: Nonces


class WaypointTypes:
    """What one pod of a waypoint is sent on one stream; nothing of any other waypoint."""

    def __init__(self, pod: WaypointPod, tools: StreamTools) -> None:
        self.pod = pod
        self._tools = tools
        self._opened = tools.clock.monotonic()
        self._subscriptions: dict[str, Subscription] = {}
        self._configured: dict[str, WaypointSubscription] = {}
        # Clusters that were sent before the client asked for any endpoints.
        self._owed_endpoints: set[str] = set()
        self._keys: frozenset[TableKey] = frozenset()

    @property
    def changed_at(self) -> int:
        """Return the commit up to which there may be something to send. Cost: O(types).

        Removals wait until every type has come as far as the one that removes: then it is the
        current one.
        """
        catalog = self._tools.catalog
        if any(each.has_removals for each in self._configured.values()):
            return catalog.commit
        return catalog.changed_at(self._keys)

    def is_concerned(self, changed: frozenset[TableKey]) -> bool:
        """Return whether one of the tables that changed is looked at."""
        return not self._keys.isdisjoint(changed)

    @property
    def secrets(self) -> SecretSubscription | None:
        """Return the subscription to secrets, None before there is one."""
        found = self._configured.get(SECRET_TYPE)
        return found if isinstance(found, SecretSubscription) else None

    @property
    def waypoint(self) -> Name:
        """Return whose pod is served."""
        return self.pod.waypoint

    def works_with(self, expected: Expected) -> bool:
        """Return whether the client has accepted listeners and routes, those named included."""
        listeners = self._configured.get(LISTENER_TYPE)
        if listeners is None or listeners.accepted < expected.listeners:
            return False
        routes = self._configured.get(ROUTE_TYPE)
        if routes is None:
            return not expected.names
        has_all = all(routes.holds(name) for name in expected.names)
        return has_all and routes.accepted >= expected.routes

    def subscribe(self, type_url: str) -> Subscription:
        """Return a new subscription to one type; types of other clients are not served."""
        made = self._configuration(type_url)
        if made is None:
            other = UnservedSubscription(
                type_url, nonces=self._tools.nonces, clock=self._tools.clock
            )
            self._subscriptions[type_url] = other
            return other
        self._configured[type_url] = self._subscriptions[type_url] = made
        self._keys |= frozenset(made.keys)
        if type_url == ENDPOINT_TYPE:
            made.owe(self._owed_endpoints)
            self._owed_endpoints = set()
        return made

    def in_order(self) -> Iterator[Subscription]:
        """Yield subscriptions in the order that is safe, with what each may send brought up."""
        configured = self._configured
        for type_url in (CLUSTER_TYPE, ENDPOINT_TYPE, SECRET_TYPE):
            if type_url in configured:
                yield configured[type_url]
        for type_url in (LISTENER_TYPE, ROUTE_TYPE):
            subscription = configured.get(type_url)
            if subscription is not None:
                subscription.may_start = self._may_name_clusters(type_url)
                yield subscription
        # Listeners and routes may just have moved on without a word; removals follow them.
        for type_url in (CLUSTER_TYPE, ENDPOINT_TYPE):
            if type_url in configured:
                yield configured[type_url]
        for other in tuple(self._subscriptions.values()):
            if isinstance(other, UnservedSubscription):
                yield other

    def _configuration(self, type_url: str) -> WaypointSubscription | None:
        tools = self._tools
        view = tools.catalog.waypoint(self.pod.waypoint, type_url, self.pod.node)
        if type_url == CLUSTER_TYPE:
            return WaypointSubscription(
                type_url,
                view,
                nonces=tools.nonces,
                clock=tools.clock,
                lists=True,
                may_remove=self._may_remove_cluster,
                on_sent=self._clusters_sent,
            )
        if type_url == ENDPOINT_TYPE:
            return WaypointSubscription(
                type_url,
                view,
                nonces=tools.nonces,
                clock=tools.clock,
                may_remove=self._may_remove_endpoints,
                owed_absent=encode_no_endpoints,
                # The stream before may have ended while a cluster waited for its endpoints.
                repeats=True,
            )
        if type_url == LISTENER_TYPE:
            return WaypointSubscription(
                type_url, view, nonces=tools.nonces, clock=tools.clock, lists=True
            )
        if type_url == ROUTE_TYPE:
            return WaypointSubscription(
                type_url,
                view,
                nonces=tools.nonces,
                clock=tools.clock,
                may_remove=self._may_remove_routes,
                absent=encode_no_routes,
            )
        if type_url == SECRET_TYPE:
            return SecretSubscription(type_url, view, nonces=tools.nonces, clock=tools.clock)
        return None

    def _clusters_sent(self, names: Iterable[str]) -> None:
        """Owe the endpoints of clusters: a proxy does not ask again for names it has."""
        endpoints = self._configured.get(ENDPOINT_TYPE)
        if endpoints is None:
            self._owed_endpoints.update(names)
        else:
            endpoints.owe(names)

    def _may_name_clusters(self, type_url: str) -> bool:
        """Return whether the clusters of the current commit are there, endpoints included.

        A proxy acknowledges clusters when they are warm. It is not waited for without end: what
        keeps one cluster from being warm must not keep a policy from being sent.
        """
        clusters = self._configured.get(CLUSTER_TYPE)
        if clusters is not None:
            if not clusters.has_sent_all:
                return self._has_waited(clusters)
            if clusters.is_in_flight and not self._has_waited(clusters):
                return False
        listeners = self._configured.get(LISTENER_TYPE)
        return type_url == LISTENER_TYPE or listeners is None or listeners.has_sent_all

    def _has_waited(self, clusters: Subscription) -> bool:
        waited = self._tools.clock.monotonic() - clusters.sent_at
        return clusters.is_in_flight and waited >= self._tools.settings.warming_wait

    def _may_remove_cluster(self, _name: str, commit: int) -> bool:
        return self._have_accepted((LISTENER_TYPE, ROUTE_TYPE), commit)

    def _may_remove_routes(self, _name: str, commit: int) -> bool:
        return self._have_accepted((LISTENER_TYPE,), commit)

    def _may_remove_endpoints(self, name: str, _commit: int) -> bool:
        clusters = self._configured.get(CLUSTER_TYPE)
        return clusters is None or not clusters.holds(name)

    def _have_accepted(self, type_urls: Iterable[str], commit: int) -> bool:
        """Return whether the client works with what ``commit`` made of some types.

        One that has not asked for a type for a while after it came has nothing of it.
        """
        for type_url in type_urls:
            subscription = self._configured.get(type_url)
            if subscription is None:
                age = self._tools.clock.monotonic() - self._opened
                if age < self._tools.settings.authorization_wait:
                    return False
            elif subscription.accepted < commit:
                return False
        return True
