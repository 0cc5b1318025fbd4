"""Every workload that is held, found by uid, by address, by hostname or by policy listed."""

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from controlplane.lab.ztunnel.network import NamespacedHostname, NetworkAddress
from controlplane.lab.ztunnel.workload import Tunnel, Workload

POD_MARK = "//Pod/"
"""What only the uid of a pod contains."""


class Workloads:
    """An indexed set of workloads; knows nothing of services."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Workload] = {}
        self._by_address: defaultdict[NetworkAddress, set[str]] = defaultdict(set)
        self._by_hostname: defaultdict[NamespacedHostname, set[str]] = defaultdict(set)
        self._by_policy: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def by_uid(self) -> Mapping[str, Workload]:
        """Return every workload by uid, live and read-only."""
        return MappingProxyType(self._by_uid)

    def insert(self, workload: Workload) -> Workload | None:
        """Take the workload and return the one of the same uid that it replaces."""
        replaced = self.remove(workload.uid)
        self._by_uid[workload.uid] = workload
        for address in workload.network_addresses:
            self._by_address[address].add(workload.uid)
        if workload.hostname:
            self._by_hostname[_hostname_of(workload)].add(workload.uid)
        for policy in workload.authorization_policies:
            self._by_policy[policy].add(workload.uid)
        return replaced

    def remove(self, uid: str) -> Workload | None:
        """Drop the workload of that uid and return it, if there was one."""
        workload = self._by_uid.pop(uid, None)
        if workload is None:
            return None
        for address in set(workload.network_addresses):
            _discard(self._by_address, address, uid)
        if workload.hostname:
            _discard(self._by_hostname, _hostname_of(workload), uid)
        for policy in set(workload.authorization_policies):
            _discard(self._by_policy, policy, uid)
        return workload

    def at(self, address: NetworkAddress) -> Workload | None:
        """Return who answers at the address: of several, a pod with HBONE before any other pod.

        Then whoever speaks HBONE, then anyone; among equals the smallest uid.
        """
        candidates = [self._by_uid[uid] for uid in sorted(self._by_address.get(address, ()))]
        return max(candidates, key=_rank, default=None)

    def with_hostname(self, hostname: NamespacedHostname) -> Workload | None:
        """Return the workload that has this hostname in this namespace, the smallest uid first."""
        uid = min(self._by_hostname.get(hostname, ()), default=None)
        return None if uid is None else self._by_uid[uid]

    def listing(self, policy: str) -> tuple[Workload, ...]:
        """Return the workloads that list the policy, sorted by uid."""
        return tuple(self._by_uid[uid] for uid in sorted(self._by_policy.get(policy, ())))

    @property
    def is_clean(self) -> bool:
        """Return whether nothing is left behind in any index when no workload is held."""
        return bool(self._by_uid) or not (self._by_address or self._by_hostname or self._by_policy)


_Key = TypeVar("_Key")


def _hostname_of(workload: Workload) -> NamespacedHostname:
    return NamespacedHostname(workload.namespace, workload.hostname)


def _rank(workload: Workload) -> tuple[bool, bool]:
    return (POD_MARK in workload.uid, workload.tunnel is Tunnel.HBONE)


def _discard(index: dict[_Key, set[str]], key: _Key, uid: str) -> None:
    bucket = index[key]
    bucket.discard(uid)
    if not bucket:
        del index[key]
