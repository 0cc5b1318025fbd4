"""Every service that is held, its endpoints, and endpoints that wait for their service.

Endpoints are filtered when they arrive and when their service changes. One that was filtered out
is forgotten: it does not come back by itself (docs/protocol/ztunnel.md ZT-24).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from controlplane.lab.ztunnel.network import (
    NamespacedHostname,
    NetworkAddress,
    NetworkPrefix,
    PortMap,
)
from controlplane.lab.ztunnel.service import Service
from controlplane.lab.ztunnel.workload import WorkloadStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A workload behind a service, with the ports it maps for it."""

    uid: str
    ports: PortMap
    status: WorkloadStatus


class Services:
    """An indexed set of services with their endpoints."""

    def __init__(self) -> None:
        self._by_key: dict[NamespacedHostname, Service] = {}
        self._by_hostname: defaultdict[str, set[NamespacedHostname]] = defaultdict(set)
        self._by_address: defaultdict[NetworkAddress, set[NamespacedHostname]] = defaultdict(set)
        self._by_prefix: defaultdict[NetworkPrefix, set[NamespacedHostname]] = defaultdict(set)
        self._endpoints: dict[NamespacedHostname, dict[str, Endpoint]] = {}
        self._staged: dict[NamespacedHostname, dict[str, Endpoint]] = {}

    @property
    def by_key(self) -> Mapping[NamespacedHostname, Service]:
        """Return every service by key, live and read-only."""
        return MappingProxyType(self._by_key)

    def endpoints(self, key: NamespacedHostname) -> tuple[Endpoint, ...]:
        """Return the endpoints of a service, sorted by uid."""
        return _sorted(self._endpoints.get(key, {}))

    def staged(self) -> Mapping[NamespacedHostname, tuple[Endpoint, ...]]:
        """Return the endpoints whose service is not known yet."""
        return {key: _sorted(waiting) for key, waiting in self._staged.items()}

    def insert(self, service: Service) -> None:
        """Take the service in place of one with its key, and the endpoints it admits."""
        key = service.key
        kept = self._endpoints.get(key, {}) | self._staged.pop(key, {})
        self._unindex(key)
        self._by_key[key] = service
        self._by_hostname[service.hostname].add(key)
        for address in service.addresses:
            if isinstance(address, NetworkAddress):
                self._by_address[address].add(key)
            else:
                self._by_prefix[address].add(key)
        self._endpoints[key] = {
            uid: endpoint for uid, endpoint in kept.items() if service.admits(endpoint.status)
        }

    def remove(self, key: NamespacedHostname) -> Service | None:
        """Drop a service with its endpoints, those that wait for it included."""
        self._staged.pop(key, None)
        self._endpoints.pop(key, None)
        return self._unindex(key)

    def change_endpoints(
        self, key: NamespacedHostname, removed: Iterable[str], added: Iterable[Endpoint]
    ) -> None:
        """Apply a response's endpoint changes to one service: removals first, then additions."""
        service = self._by_key.get(key)
        held = self._endpoints[key] if service is not None else self._staged.setdefault(key, {})
        for uid in removed:
            held.pop(uid, None)
        for endpoint in added:
            if service is None or service.admits(endpoint.status):
                held[endpoint.uid] = endpoint
        if service is None and not held:
            del self._staged[key]

    def with_hostname(self, hostname: str) -> tuple[Service, ...]:
        """Return the services of every namespace with exactly this hostname, sorted by key."""
        return self._found(self._by_hostname.get(hostname, ()))

    def at(self, address: NetworkAddress) -> tuple[Service, ...]:
        """Return the services that have exactly this address, sorted by key."""
        return self._found(self._by_address.get(address, ()))

    def around(self, address: NetworkAddress) -> tuple[tuple[int, Service], ...]:
        """Return the services with a block that holds the address, with the block's length."""
        return tuple(
            (prefix.prefixlen, service)
            for (network, prefix), keys in self._by_prefix.items()
            if network == address.network
            and prefix.version == address.address.version
            and address.address in prefix
            for service in self._found(keys)
        )

    @property
    def is_clean(self) -> bool:
        """Return whether nothing is left behind in any index when no service is held."""
        return bool(self._by_key) or not (
            self._by_hostname or self._by_address or self._by_prefix or self._endpoints
        )

    def _found(self, keys: Iterable[NamespacedHostname]) -> tuple[Service, ...]:
        return tuple(self._by_key[key] for key in sorted(keys))

    def _unindex(self, key: NamespacedHostname) -> Service | None:
        service = self._by_key.pop(key, None)
        if service is None:
            return None
        _discard(self._by_hostname, service.hostname, key)
        for address in set(service.addresses):
            if isinstance(address, NetworkAddress):
                _discard(self._by_address, address, key)
            else:
                _discard(self._by_prefix, address, key)
        return service


def _sorted(endpoints: Mapping[str, Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(endpoints[uid] for uid in sorted(endpoints))


_Key = TypeVar("_Key")


def _discard(
    index: dict[_Key, set[NamespacedHostname]], key: _Key, member: NamespacedHostname
) -> None:
    bucket = index[key]
    bucket.discard(member)
    if not bucket:
        del index[key]
