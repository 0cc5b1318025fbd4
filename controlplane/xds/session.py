"""One client's stream without any I/O: requests come in, responses go out in a safe order.

``stream`` feeds it from a transport and sends what ``responses`` yields. Order is security
(docs/protocol/discovery.md OR-n): a policy goes out before workloads that list it, and goes away
after them. What a waypoint is sent, and in which order, is up to ``waypoint_types``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.clock import Clock
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, WORKLOAD_TYPE, TableKey
from controlplane.snapshots.table import FRESH
from controlplane.xds.address_hold import AddressHold
from controlplane.xds.errors import ForbiddenError, MalformedRequestError
from controlplane.xds.node import Node, read_node
from controlplane.xds.observer import Observer, SilentObserver
from controlplane.xds.on_demand import OnDemandSubscription
from controlplane.xds.response import Response
from controlplane.xds.secret_subscription import SecretSubscription
from controlplane.xds.settings import XdsSettings
from controlplane.xds.subscription import Nonces, Subscription, UnservedSubscription
from controlplane.xds.waypoint_subscription import WaypointSubscription
from controlplane.xds.waypoint_types import StreamTools, WaypointTypes
from controlplane.xds.wildcard import PolicySubscription, WildcardSubscription

_MOST_TYPES = 32
_ADDRESS_TYPES = (ADDRESS_TYPE, WORKLOAD_TYPE)
_LARGE = 1000
_MOST_SAID = 64 * 1024
"""Characters of a refusal that are looked at: a client may send megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a stream comes from.

    ``number`` tells streams of a process apart; ``peer`` is the client's address, ``identity`` the
    account it was authenticated as, "" if nobody was asked.
    """

    number: int = 0
    peer: str = ""
    identity: str = ""


class Session:
    """The state of one stream, of the client at ``origin``.

    ``authorize`` raises ForbiddenError if the caller may not speak for a node; it returns which
    pod of a waypoint the client is, None for every other client. A waypoint's pod is asked about
    again and again: its stream ends when it is one no more, or is elsewhere.

    ``hold`` tells when addresses may be sent, and hears how far a waypoint is.

    Call ``receive`` for every request, ``responses`` after it and after every commit, and look at
    ``ending`` from time to time; ``close`` when the stream has ended.
    """

    def __init__(  # noqa: PLR0913 - what a stream is made of, most of it replaceable
        self,
        catalog: Catalog,
        settings: XdsSettings,
        clock: Clock,
        *,
        origin: Origin | None = None,
        authorize: Callable[[Node], WaypointPod | None] = lambda _: None,
        observer: Observer | None = None,
        hold: AddressHold | None = None,
    ) -> None:
        self.origin = origin or Origin()
        self.number = self.origin.number
        self.node: Node | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self.connected_at = clock.now()
        self._authorize = authorize
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._observer: Observer = observer or SilentObserver()
        self._hold = hold or AddressHold(catalog, settings, clock)
        self._nonces = Nonces()
        self._opened = clock.monotonic()
        self._waypoint: WaypointTypes | None = None

    @property
    def secrets(self) -> SecretSubscription | None:
        """Return the subscription of a waypoint to its secrets, None before there is one."""
        return None if self._waypoint is None else self._waypoint.secrets

    def introduce(self, request: Any) -> Node:
        """Read who is calling from the first request of a stream.

        Raises:
            MalformedRequestError: there is no node in it, or not a valid one.
            ForbiddenError: the caller may not speak for it.
        """
        if not request.HasField("node") or not request.node.id:
            raise MalformedRequestError("missing node information")
        node = read_node(request.node)
        pod = self._authorize(node)
        if pod is not None:
            self._waypoint = WaypointTypes(
                pod,
                StreamTools(
                    catalog=self._catalog,
                    settings=self._settings,
                    clock=self._clock,
                    nonces=self._nonces,
                ),
            )
            self._hold.joined(self._waypoint)
        self.node = node
        self._observer.connected(self.number, node)
        return node

    def receive(self, request: Any) -> None:
        """Take in one DeltaDiscoveryRequest.

        Raises:
            MalformedRequestError: it breaks the protocol; the stream cannot go on.
        """
        self._take_in(request)
        if self._waypoint is not None:
            self._hold.progressed(self._waypoint)

    def _take_in(self, request: Any) -> None:
        node = self.node or self.introduce(request)
        type_url = request.type_url
        if not type_url:
            raise MalformedRequestError("missing type_url")
        subscription = self.subscriptions.get(type_url)
        if request.HasField("error_detail"):
            self._rejected(subscription, request)
            if isinstance(subscription, WaypointSubscription):
                # A proxy says what it refuses and what else it wants in one request.
                subscription.follow_up(
                    request.resource_names_subscribe, request.resource_names_unsubscribe
                )
            return
        if subscription is None:
            if len(self.subscriptions) >= _MOST_TYPES:
                raise MalformedRequestError(f"more than {_MOST_TYPES} types on one stream")
            subscription = self._subscribe(type_url, node, request)
            self.subscriptions[type_url] = subscription
        elif not self._is_current(subscription, request.response_nonce):
            return
        subscription = self._converted(subscription, node, request)
        subscription.ask(
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
            request.initial_resource_versions,
        )

    def responses(self) -> Iterator[Response | None]:
        """Yield every response that may be sent now; None where the caller may breathe.

        Requests and commits may come in while the iterator is paused.
        """
        progress = True
        while progress and self.has_work():
            progress = False
            for subscription in self._in_order():
                response = yield from subscription.next_response()
                if response is not None:
                    progress = True
                    subscription.trail.sent.note(subscription.cursor, subscription.sent_at)
                    self._observer.sent(self.number, response)
                    yield response
        for subscription in self.subscriptions.values():
            subscription.note_held()
        if self._waypoint is not None:
            # Some types may just have moved on without a word.
            self._hold.progressed(self._waypoint)

    def close(self) -> None:
        """Note that the stream has ended: nobody waits for it any more."""
        if self._waypoint is not None:
            self._hold.left(self._waypoint)

    def owes_first_sync(self) -> bool:
        """Return whether the next response may be large because it is somebody's first."""
        return len(self._catalog.addresses()) > _LARGE and any(
            subscription.owes_everything() and subscription.type_url in _ADDRESS_TYPES
            for subscription in self.subscriptions.values()
        )

    def has_work(self) -> bool:
        """Return whether ``responses`` may yield something. Cost: O(1)."""
        commit = self._catalog.commit if self._waypoint is None else self._waypoint.changed_at
        return not all(
            subscription.is_settled(commit) or subscription.is_in_flight
            for subscription in self.subscriptions.values()
        )

    def is_concerned(self, changed: frozenset[TableKey]) -> bool:
        """Return whether there may be something to send when these tables have changed.

        Waypoints are many and each looks at its own; node proxies look at what is everybody's.
        """
        return self._waypoint is None or self._waypoint.is_concerned(changed)

    def ending(self) -> str | None:
        """Return why the stream should end now, in words; the client comes back and resumes."""
        if self._waypoint is not None and not self._is_still(self._waypoint.pod):
            return "the caller is no pod of this Gateway any more"
        for subscription in self.subscriptions.values():
            if subscription.is_lost:
                return "too far behind to be told what changed"
            if (
                subscription.is_in_flight
                and self._clock.monotonic() - subscription.sent_at
                > self._settings.acknowledgement_timeout
            ):
                return "nothing acknowledged for too long"
        return None

    def _in_order(self) -> Iterator[Subscription]:
        """Yield subscriptions in the order that is safe, with what each may send brought up."""
        if self._waypoint is not None:
            yield from self._waypoint.in_order()
            return
        commit = self._catalog.commit
        policies = self._policies()
        if policies is not None and not policies.is_settled(commit):
            policies.removable_until = self._removable_until(policies)
            yield policies
        for type_url in _ADDRESS_TYPES:
            subscription = self.subscriptions.get(type_url)
            if subscription is not None and not subscription.is_settled(commit):
                subscription.may_start = self._hold.is_open and self._may_send_addresses()
                yield subscription
        if policies is not None and not policies.is_settled(commit):
            # Addresses may just have moved on without a word; removals follow them.
            policies.removable_until = self._removable_until(policies)
            yield policies
        for subscription in tuple(self.subscriptions.values()):
            if isinstance(subscription, UnservedSubscription):
                yield subscription

    def _policies(self) -> PolicySubscription | None:
        found = self.subscriptions.get(AUTHORIZATION_TYPE)
        return found if isinstance(found, PolicySubscription) else None

    def _may_send_addresses(self) -> bool:
        policies = self._policies()
        if policies is None:
            return not self._waits_for_policies()
        return policies.is_ahead

    def _removable_until(self, policies: PolicySubscription) -> int:
        """Return the commit up to which removed policies are listed by nothing the client holds."""
        cursors = [
            self.subscriptions[type_url].cursor
            for type_url in _ADDRESS_TYPES
            if type_url in self.subscriptions
        ]
        if cursors:
            return min(cursors)
        return FRESH if self._waits_for_policies() else policies.cursor

    def _waits_for_policies(self) -> bool:
        """Return whether the client may be about to subscribe to what orders its types."""
        node = self.node
        return (
            node is not None
            and node.enforces_policies
            and self._clock.monotonic() - self._opened < self._settings.authorization_wait
        )

    def _is_still(self, pod: WaypointPod) -> bool:
        try:
            return self.node is None or self._authorize(self.node) == pod
        except ForbiddenError:
            return False

    def _subscribe(self, type_url: str, node: Node, request: Any) -> Subscription:
        if self._waypoint is not None:
            return self._waypoint.subscribe(type_url)
        if type_url == AUTHORIZATION_TYPE:
            scope = node.name if self._settings.scopes_policies_to_nodes and node.name else None
            view = self._catalog.authorizations(scope, knows_dry_run=node.knows_dry_run)
            return PolicySubscription(type_url, view, nonces=self._nonces, clock=self._clock)
        if type_url in _ADDRESS_TYPES:
            return self._address_subscription(type_url, node, is_wildcard=_is_wildcard(request))
        return UnservedSubscription(type_url, nonces=self._nonces, clock=self._clock)

    def _address_subscription(
        self, type_url: str, node: Node, *, is_wildcard: bool
    ) -> Subscription:
        catalog = self._catalog
        view = catalog.addresses() if type_url == ADDRESS_TYPE else catalog.legacy_workloads()
        if is_wildcard:
            return WildcardSubscription(type_url, view, nonces=self._nonces, clock=self._clock)
        return OnDemandSubscription(
            type_url,
            view,
            lookup=catalog.lookup,
            node=node.name,
            nonces=self._nonces,
            clock=self._clock,
        )

    def _converted(self, subscription: Subscription, node: Node, request: Any) -> Subscription:
        """Return the subscription, replaced if the request moves it to or from the wildcard."""
        wants = "*" in request.resource_names_subscribe
        drops = "*" in request.resource_names_unsubscribe
        is_wildcard = isinstance(subscription, WildcardSubscription)
        if (
            self._waypoint is not None
            or subscription.type_url not in _ADDRESS_TYPES
            or subscription.cursor == FRESH
            or (wants and drops)
            or (is_wildcard and not drops)
            or (not is_wildcard and not wants)
        ):
            return subscription
        # The client starts over with this type; what is in flight is still to be acknowledged.
        replacement = self._address_subscription(
            subscription.type_url, node, is_wildcard=not is_wildcard
        )
        replacement.is_in_flight = subscription.is_in_flight
        replacement.nonce_sent = subscription.nonce_sent
        replacement.sent_at = subscription.sent_at
        self.subscriptions[subscription.type_url] = replacement
        return replacement

    def _is_current(self, subscription: Subscription, nonce: str) -> bool:
        """Note an acknowledgement; return False for a stale request, which is ignored."""
        if not nonce:
            return True
        if nonce != subscription.nonce_sent:
            return False
        if subscription.is_in_flight:
            seconds = self._clock.monotonic() - subscription.sent_at
            after = subscription.trail.held.last
            subscription.acknowledge()
            commit = subscription.commit_acknowledged
            self._observer.acknowledged(self.number, subscription.type_url, commit, seconds)
            # Not for the first state, an answer to a question, or a piece with others to come.
            if FRESH < after < commit <= subscription.cursor:
                self._observer.caught_up(self.number, subscription.type_url, after)
        return True

    def _rejected(self, subscription: Subscription | None, request: Any) -> None:
        if subscription is None:
            return
        message = request.error_detail.message[:_MOST_SAID]
        subscription.reject(request.response_nonce, message)
        self._observer.rejected(self.number, subscription.type_url, subscription.rejected, message)


def _is_wildcard(request: Any) -> bool:
    """Return whether the first request of a type asks for everything."""
    names = request.resource_names_subscribe
    if not names:
        return True
    return "*" in names and "*" not in request.resource_names_unsubscribe
