"""Look-ups of addresses: keys that on-demand clients ask for come in, names of resources go out.

It costs memory per workload, so the catalog builds it when the first on-demand client appears;
from then on every commit keeps it current.
"""

from collections.abc import Iterable, Sequence

from controlplane.encode.resource import Resource
from controlplane.snapshots.forms import is_service_name
from controlplane.snapshots.table import Replacement


def host_alias(alias: str) -> str:
    """Return ``network/ip`` of an alias, which may carry a prefix length behind a third slash."""
    head, slash, tail = alias.rpartition("/")
    return head if slash and "/" in head and tail.isdigit() else alias


class Lookup:
    """Names of resources by address, by service and by node."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._workloads_at: dict[str, dict[str, None]] = {}
        self._services_at: dict[str, dict[str, None]] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._on_node: dict[str, dict[str, None]] = {}
        self._names: set[str] = set()
        for resource in resources:
            self._add(resource)

    def published(self, replacements: Sequence[Replacement]) -> None:
        """Follow one commit of the table of addresses."""
        for replacement in replacements:
            if replacement.old is not None:
                self._remove(replacement.old)
            if replacement.new is not None:
                self._add(replacement.new)

    def find(self, key: str) -> tuple[str, ...]:
        """Return the names that ``key`` stands for; empty when it stands for nothing.

        A workload's uid stands for it; an address of workloads stands for all of them; a service,
        by name or address, for itself followed by its workloads. The first that applies wins.
        """
        if "/" not in key:
            return ()
        if key in self._names:
            return (key, *self.members(key)) if is_service_name(key) else (key,)
        alias = host_alias(key)
        workloads = self._workloads_at.get(alias)
        if workloads:
            return tuple(workloads)
        services = self._services_at.get(alias)
        if services:
            # Several services may share an address: the same one whatever came first.
            service = min(services)
            return (service, *self.members(service))
        return ()

    def members(self, service: str) -> tuple[str, ...]:
        """Return the workloads that serve ``service``."""
        return tuple(self._members.get(service, ()))

    def on_node(self, node: str) -> tuple[str, ...]:
        """Return the workloads on ``node``; none for a node without a name."""
        return tuple(self._on_node.get(node, ())) if node else ()

    def _add(self, resource: Resource) -> None:
        self._names.add(resource.name)
        for bucket, key in self._places(resource):
            bucket.setdefault(key, {})[resource.name] = None

    def _remove(self, resource: Resource) -> None:
        self._names.discard(resource.name)
        for bucket, key in self._places(resource):
            names = bucket.get(key)
            if names is not None:
                names.pop(resource.name, None)
                if not names:
                    del bucket[key]

    def _places(self, resource: Resource) -> Iterable[tuple[dict[str, dict[str, None]], str]]:
        if is_service_name(resource.name):
            for alias in resource.aliases:
                yield self._services_at, host_alias(alias)
            return
        for alias in resource.aliases:
            yield self._workloads_at, alias
        for service in resource.services:
            yield self._members, service
        if resource.node:
            yield self._on_node, resource.node
