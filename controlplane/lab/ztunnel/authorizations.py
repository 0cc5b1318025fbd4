"""Every policy that is held, by the name of its resource, and which of them cover a workload."""

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from controlplane.lab.ztunnel.authorization import Authorization, Scope
from controlplane.lab.ztunnel.workload import Workload


class Covering(NamedTuple):
    """The policies of one workload by resource name, and the listed names that are not held."""

    held: dict[str, Authorization]
    unknown: tuple[str, ...]


class Authorizations:
    """An indexed set of policies."""

    def __init__(self) -> None:
        self._by_name: dict[str, Authorization] = {}
        self._global: set[str] = set()
        self._by_namespace: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def by_name(self) -> Mapping[str, Authorization]:
        """Return every policy by resource name, live and read-only."""
        return MappingProxyType(self._by_name)

    def insert(self, name: str, policy: Authorization) -> None:
        """Take the policy in place of the one with its resource name."""
        self.remove(name)
        self._by_name[name] = policy
        if policy.scope is Scope.GLOBAL:
            self._global.add(name)
        elif policy.scope is Scope.NAMESPACE:
            self._by_namespace[policy.namespace].add(name)

    def remove(self, name: str) -> None:
        """Drop the policy with that resource name, if it is held."""
        policy = self._by_name.pop(name, None)
        if policy is None:
            return
        self._global.discard(name)
        bucket = self._by_namespace.get(policy.namespace)
        if bucket is not None:
            bucket.discard(name)
            if not bucket:
                del self._by_namespace[policy.namespace]

    def covering(self, workload: Workload) -> Covering:
        """Return the policies in force for the workload, sorted by resource name.

        They are the global ones, those of its whole namespace, and those it lists.
        """
        names = self._global | self._by_namespace.get(workload.namespace, set())
        names |= set(workload.authorization_policies)
        return Covering(
            {name: self._by_name[name] for name in sorted(names) if name in self._by_name},
            tuple(sorted(name for name in names if name not in self._by_name)),
        )
