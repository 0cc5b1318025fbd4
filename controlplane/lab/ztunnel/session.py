"""The client's side of delta discovery without any I/O: responses in, requests out.

``connect`` starts a stream and gives its first requests, ``receive`` applies one response and
gives the request that answers it. What is held survives the stream, so that the next one starts
from it (docs/protocol/ztunnel.md ZT-2 to ZT-9). ``client`` carries the bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.lab.ztunnel.authorization import Authorization
from controlplane.lab.ztunnel.decode import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Response,
    response_from_bytes,
)
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.state import MeshState

TYPES = (ADDRESS_TYPE, AUTHORIZATION_TYPE)
"""What is subscribed to, in this order."""
_EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One response that has been applied.

    ``stream`` counts the streams of this session from 1, ``is_first`` says that the response is
    the first of its type on its stream, and ``offered`` are the versions by name that the client
    had named when the stream began. ``nack`` is the text of the refusal, "" for an ACK.
    """

    stream: int
    response: Response
    is_first: bool
    offered: Mapping[str, str]
    nack: str


class Session:
    """One node proxy: what it holds, what it has acknowledged, what it still waits for.

    ``last`` is the response applied last, ``nacks`` are the texts of all refusals.
    """

    def __init__(
        self,
        node: NodeIdentity,
        *,
        on_demand: bool = False,
        observer: Callable[[Applied], None] | None = None,
    ) -> None:
        """Take who asks, whether Addresses come on demand, and who hears of each response."""
        self.node = node
        self.on_demand = on_demand
        self.observer = observer
        self.state = MeshState()
        self.stream = 0
        self.nacks: list[str] = []
        self.last: Applied | None = None
        self._retained: dict[str, dict[str, str]] = {type_url: {} for type_url in TYPES}
        self._offered: dict[str, Mapping[str, str]] = {}
        self._answered: set[str] = set()
        self._unready = {AUTHORIZATION_TYPE} if on_demand else set(TYPES)
        self._demanded: dict[str, None] = {}

    @property
    def is_ready(self) -> bool:
        """Return whether one response of each wildcard type has been acknowledged (ZT-6)."""
        return not self._unready

    @property
    def demanded(self) -> tuple[str, ...]:
        """Return the keys that were asked for and have not been answered."""
        return tuple(self._demanded)

    def retained(self, type_url: str) -> dict[str, str]:
        """Return the version last accepted of each held name of a type."""
        return dict(self._retained[type_url])

    def connect(self) -> tuple[bytes, ...]:
        """Begin a stream and return its requests: one for each type, then unanswered demands."""
        self.stream += 1
        self._answered.clear()
        self._offered = {type_url: self.retained(type_url) for type_url in TYPES}
        requests = []
        for type_url in TYPES:
            request = discovery_pb2.DeltaDiscoveryRequest(
                node=self.node.message(),
                type_url=type_url,
                initial_resource_versions=self._offered[type_url],
            )
            if self.on_demand and type_url == ADDRESS_TYPE:
                request.resource_names_subscribe.append(_EVERYTHING)
                request.resource_names_unsubscribe.append(_EVERYTHING)
            requests.append(request.SerializeToString())
        return (*requests, *map(_demand, self._demanded))

    def demand(self, key: str) -> bytes:
        """Return the request for one Address key: ``network/ip`` or ``namespace/hostname``.

        The key stays in ``demanded`` until a response names it, as resource or as removal.
        """
        self._demanded[key] = None
        return _demand(key)

    def receive(self, data: bytes) -> bytes:
        """Apply one serialized response and return the request that acknowledges or refuses it.

        Raises ``UndecodableResponseError`` when the response itself cannot be read.
        """
        response = response_from_bytes(data)
        is_first = response.type_url not in self._answered
        self._answered.add(response.type_url)
        self._apply(response)
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce
        )
        nack = "; ".join(map(str, response.rejections))
        if nack:
            request.error_detail.message = nack
            self.nacks.append(nack)
        else:
            self._unready.discard(response.type_url)
        self.last = Applied(
            stream=self.stream,
            response=response,
            is_first=is_first,
            offered=self._offered.get(response.type_url, {}),
            nack=nack,
        )
        if self.observer is not None:
            self.observer(self.last)
        return bytes(request.SerializeToString())

    def _apply(self, response: Response) -> None:
        if response.type_url == ADDRESS_TYPE:
            self.state.apply_addresses(
                [
                    update.value
                    for update in response.updates
                    if not isinstance(update.value, Authorization)
                ],
                response.removed,
            )
            for name in response.names:
                self._demanded.pop(name, None)
        elif response.type_url == AUTHORIZATION_TYPE:
            self.state.apply_authorizations(
                [
                    (update.name, update.value)
                    for update in response.updates
                    if isinstance(update.value, Authorization)
                ],
                response.removed,
            )
        else:
            return
        retained = self._retained[response.type_url]
        retained.update((update.name, update.version) for update in response.updates)
        for name in response.removed:
            retained.pop(name, None)


def _demand(key: str) -> bytes:
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=ADDRESS_TYPE, resource_names_subscribe=[key]
    )
    return bytes(request.SerializeToString())
