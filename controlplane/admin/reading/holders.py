"""Who has what: connections and tables come in, who holds a resource's newest version goes out.

A connection holds a resource when it has acknowledged everything up to the commit of the resource's
last change. Only this replica's connections can be judged: another one counts its own commits, so
that of its connections is only told how many there are.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from controlplane.admin.values.common import Holder, Served
from controlplane.encode.resource import Resource
from controlplane.model.connection import Connection, TypeProgress
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.forms import is_service_name
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    GLOBAL_AUTHORIZATIONS,
    WORKLOAD_TYPE,
    TableKey,
    node_authorizations,
)

HOLDERS: Final = 1000
"""Connections named for one resource; all are counted."""


class _Looker(NamedTuple):
    connection: Connection
    progress: TypeProgress


class Holders:
    """How this replica's ``connections`` stand at one moment; ``others`` are those of others."""

    def __init__(
        self,
        catalog: Catalog,
        connections: Sequence[Connection],
        *,
        others: Sequence[Connection] = (),
        scopes_to_nodes: bool = True,
    ) -> None:
        self._catalog = catalog
        self._scopes_to_nodes = scopes_to_nodes
        self._lookers: dict[str, list[_Looker]] = {}
        for connection in connections:
            for progress in connection.types:
                if progress.is_served:
                    self._lookers.setdefault(progress.type_url, []).append(
                        _Looker(connection, progress)
                    )
        self._held: dict[str, list[int]] = {}
        self._on_demand: dict[str, int] = {}
        for url in (ADDRESS_TYPE, WORKLOAD_TYPE):
            wildcards = [each for each in self._of(url) if not each.progress.is_on_demand]
            self._held[url] = sorted(each.progress.commit_held for each in wildcards)
            self._on_demand[url] = len(self._of(url)) - len(wildcards)
        nodes: dict[str, list[int]] = {}
        unscoped: list[int] = []
        for connection, progress in self._of(AUTHORIZATION_TYPE):
            is_scoped = scopes_to_nodes and connection.node
            held = nodes.setdefault(connection.node, []) if is_scoped else unscoped
            held.append(progress.commit_held)
        self._unscoped = sorted(unscoped)
        self._scoped = sorted(each for held in nodes.values() for each in held)
        self._nodes = [
            (catalog.table(node_authorizations(node)), held) for node, held in nodes.items()
        ]
        served = [
            (connection, progress)
            for connection in others
            for progress in connection.types
            if progress.is_served and not progress.is_on_demand
        ]
        self._elsewhere = Counter(progress.type_url for _, progress in served)
        self._nodes_elsewhere = Counter(
            connection.node if scopes_to_nodes else ""
            for connection, progress in served
            if progress.type_url == AUTHORIZATION_TYPE
        )

    def of_address(self, name: str) -> Served | None:
        """Return what is served of a workload or service, None when nothing is."""
        table = self._catalog.table(ADDRESSES)
        resource, commit = table.get(name), table.changed_at(name)
        if resource is None or commit is None:
            return None
        types = (ADDRESS_TYPE,) if is_service_name(name) else (ADDRESS_TYPE, WORKLOAD_TYPE)
        waiting = sum(bisect_left(self._held[url], commit) for url in types)
        return _served(
            resource,
            commit,
            holding=sum(len(self._held[url]) for url in types) - waiting,
            waiting=waiting,
            on_demand=sum(self._on_demand[url] for url in types),
            elsewhere=sum(self._elsewhere[url] for url in types),
        )

    def of_policy(self, name: str) -> Served | None:
        """Return what is served of a policy, None when nothing is."""
        table = self._catalog.table(AUTHORIZATIONS)
        resource, changed = table.get(name), table.changed_at(name)
        if resource is None or changed is None:
            return None
        waiting = bisect_left(self._unscoped, changed)
        seeing = len(self._unscoped)
        shared = self._catalog.table(GLOBAL_AUTHORIZATIONS).changed_at(name)
        if shared is not None:
            waiting += bisect_left(self._scoped, shared)
            seeing += len(self._scoped)
        else:
            for own, held in self._nodes:
                commit = own.changed_at(name)
                if commit is not None:
                    waiting += sum(each < commit for each in held)
                    seeing += len(held)
        return _served(
            resource,
            changed,
            holding=seeing - waiting,
            waiting=waiting,
            elsewhere=self._policy_elsewhere(name, is_global=shared is not None),
        )

    def _policy_elsewhere(self, name: str, *, is_global: bool) -> int:
        if is_global:
            return self._elsewhere[AUTHORIZATION_TYPE]
        return sum(
            times
            for node, times in self._nodes_elsewhere.items()
            if not node
            or self._catalog.table(node_authorizations(node)).changed_at(name) is not None
        )

    def named_address(self, name: str) -> Iterator[Holder]:
        """Yield the connections that see a workload or service."""
        commit = self._catalog.table(ADDRESSES).changed_at(name)
        if commit is None:
            return
        types = (ADDRESS_TYPE,) if is_service_name(name) else (ADDRESS_TYPE, WORKLOAD_TYPE)
        for url in types:
            for looker in self._of(url):
                if not looker.progress.is_on_demand:
                    yield _holder(looker, commit)

    def named_policy(self, name: str) -> Iterator[Holder]:
        """Yield the connections that see a policy."""
        for looker in self._of(AUTHORIZATION_TYPE):
            commit = self._policy_commit(looker.connection, name)
            if commit is not None:
                yield _holder(looker, commit)

    def _of(self, type_url: str) -> list[_Looker]:
        return self._lookers.get(type_url, [])

    def _policy_commit(self, connection: Connection, name: str) -> int | None:
        keys: tuple[TableKey, ...] = (AUTHORIZATIONS,)
        if self._scopes_to_nodes and connection.node:
            keys = (GLOBAL_AUTHORIZATIONS, node_authorizations(connection.node))
        commits = (self._catalog.table(key).changed_at(name) for key in keys)
        return next((commit for commit in commits if commit is not None), None)


def _served(
    resource: Resource,
    commit: int,
    *,
    holding: int,
    waiting: int,
    on_demand: int = 0,
    elsewhere: int,
) -> Served:
    return Served(
        version=resource.version,
        commit=commit,
        bytes=len(resource.body),
        holding=holding,
        waiting=waiting,
        on_demand=on_demand,
        elsewhere=elsewhere,
    )


def _holder(looker: _Looker, commit: int) -> Holder:
    connection, progress = looker
    return Holder(
        replica=connection.replica,
        number=connection.number,
        name=connection.name,
        node=connection.node,
        holds=progress.commit_held >= commit,
    )
