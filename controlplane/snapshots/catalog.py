"""The catalog: every table, moved from commit to commit as one.

The pipeline stages the changes of a graph commit and publishes them once; sessions read views of
what is committed and are woken.
"""

from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from controlplane.encode.resource import Resource
from controlplane.model.names import Name
from controlplane.snapshots.forms import (
    encoded_as_workload,
    is_service_name,
    understood_without_dry_run,
)
from controlplane.snapshots.lookup import Lookup
from controlplane.snapshots.scope import (
    ADDRESSES,
    AUTHORIZATIONS,
    ENDPOINT_TYPE,
    GLOBAL_AUTHORIZATIONS,
    TableKey,
    is_narrow,
    node_authorizations,
    waypoint_endpoints,
    waypoint_resources,
)
from controlplane.snapshots.table import TOMBSTONES, Table
from controlplane.snapshots.view import View

_EMPTY_TABLES = 256
"""Empty tables of nodes and waypoints that keep their tombstones."""


class Catalog:
    """Tables by key and the number of the commit they all are at.

    The surface for who fills it: any number of ``stage(key, changes)``, then one ``publish()`` per
    commit. Nothing staged is visible before. ``tombstone_limit`` bounds the removals each table
    remembers. ``changed`` are the tables that the last commit changed.
    """

    def __init__(self, *, tombstone_limit: int = TOMBSTONES) -> None:
        self.commit = 0
        self.changed: tuple[TableKey, ...] = ()
        self._tombstone_limit = tombstone_limit
        self._tables: dict[TableKey, Table] = {
            key: Table(tombstone_limit=tombstone_limit)
            for key in (ADDRESSES, AUTHORIZATIONS, GLOBAL_AUTHORIZATIONS)
        }
        self._staged: dict[TableKey, Table] = {}
        self._empty: dict[TableKey, None] = {}
        self._forgotten = 0
        self._lookup: Lookup | None = None
        self._subscribers: list[Callable[[int], None]] = []
        self._views: dict[tuple[str, str | None, bool], View] = {}
        self._waypoint_views: WeakValueDictionary[TableKey, View] = WeakValueDictionary()

    def stage(self, key: TableKey, changes: Iterable[tuple[str, Resource | None]]) -> None:
        """Note that each name of a table now stands for a resource, or for nothing (None)."""
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(tombstone_limit=self._tombstone_limit)
        table.stage(changes)
        self._staged[key] = table

    def publish(self) -> int:
        """Make everything staged visible in one step and wake every subscriber once.

        Returns the number of the current commit, which is a new one only if something differs.
        """
        staged, self._staged = self._staged, {}
        commit = self.commit + 1
        changed = tuple(key for key, table in staged.items() if table.publish(commit))
        for key in staged:
            self._note_empty(key)
        if not changed:
            return self.commit
        self.commit = commit
        self.changed = changed
        for subscriber in tuple(self._subscribers):
            subscriber(commit)
        return commit

    def subscribe(self, subscriber: Callable[[int], None]) -> None:
        """Call ``subscriber`` with the number of every later commit, once per commit."""
        self._subscribers.append(subscriber)

    def table(self, key: TableKey) -> Table:
        """Return the table of ``key``; one that nobody filled is empty."""
        found = self._tables.get(key)
        return Table() if found is None else found

    def addresses(self) -> View:
        """Return the view of every workload and service of the mesh."""
        return self._view((ADDRESSES.type_url, None, False), ADDRESSES)

    def legacy_workloads(self) -> View:
        """Return the view of every workload, as messages of type istio.workload.Workload."""
        name = ("legacy", None, False)
        if name not in self._views:
            self._views[name] = View(
                lambda: (self._tables[ADDRESSES],),
                lambda: self.commit,
                keys=(ADDRESSES,),
                form=encoded_as_workload,
                shows=lambda name: not is_service_name(name),
            )
        return self._views[name]

    def authorizations(self, node: str | None, *, knows_dry_run: bool = False) -> View:
        """Return the view of the policies of one node, or of all policies when it is None.

        ``knows_dry_run`` says that the client does not enforce a policy marked dry-run.
        """
        name = (AUTHORIZATIONS.type_url, node, knows_dry_run)
        if node is None:
            return self._view(name, AUTHORIZATIONS)
        own = node_authorizations(node)

        def tables() -> tuple[Table, ...]:
            shared, local = self._tables[GLOBAL_AUTHORIZATIONS], self._tables.get(own)
            return (shared,) if local is None else (shared, local)

        # Not kept: there is one client per node, and nodes come and go.
        return View(
            tables,
            lambda: self.commit,
            keys=(GLOBAL_AUTHORIZATIONS, own),
            form=None if knows_dry_run else understood_without_dry_run,
            forgotten=lambda: self._forgotten,
        )

    def waypoint(self, waypoint: Name, type_url: str, node: str = "") -> View:
        """Return the view of one of ``WAYPOINT_TYPES`` for pods of a waypoint Gateway on ``node``.

        It is empty while there is no such waypoint. What is near differs by node, "" where that is
        not known: pods of one waypoint share the view of endpoints with those on the same node, all
        others with each other, for as long as one of them holds it.
        """
        keys: tuple[TableKey, ...] = (waypoint_resources(waypoint, type_url),)
        if type_url == ENDPOINT_TYPE:
            keys = (*keys, waypoint_endpoints(waypoint, node))
        found = self._waypoint_views.get(keys[-1])
        if found is None:
            found = self._waypoint_views[keys[-1]] = View(
                lambda: self._present(keys),
                lambda: self.commit,
                keys=keys,
                forgotten=lambda: self._forgotten,
            )
        return found

    def lookup(self) -> Lookup:
        """Return the look-up of addresses, built when somebody asks for the first time."""
        if self._lookup is None:
            addresses = self._tables[ADDRESSES]
            self._lookup = Lookup(addresses.resources())
            addresses.listen(self._lookup.published)
        return self._lookup

    def changed_at(self, keys: Iterable[TableKey]) -> int:
        """Return the commit up to which something changed in tables, which may be forgotten."""
        newest = self._forgotten
        for key in keys:
            table = self._tables.get(key)
            if table is not None and table.commit > newest:
                newest = table.commit
        return newest

    def release(self) -> None:
        """Let go of whole states kept for fresh clients; a hint that none have come for a while."""
        for view in self._views.values():
            view.release()

    def _present(self, keys: Iterable[TableKey]) -> tuple[Table, ...]:
        return tuple(self._tables[key] for key in keys if key in self._tables)

    def _view(self, name: tuple[str, str | None, bool], key: TableKey) -> View:
        found = self._views.get(name)
        if found is None:
            tables = (self._tables[key],)
            hides_dry_run = key == AUTHORIZATIONS and not name[2]
            found = self._views[name] = View(
                lambda: tables,
                lambda: self.commit,
                keys=(key,),
                form=understood_without_dry_run if hides_dry_run else None,
            )
        return found

    def _note_empty(self, key: TableKey) -> None:
        """Forget the tables of nodes and waypoints that have been empty the longest."""
        if not is_narrow(key):
            return
        if len(self._tables[key]):
            self._empty.pop(key, None)
            return
        self._empty[key] = None
        while len(self._empty) > _EMPTY_TABLES:
            oldest = next(iter(self._empty))
            del self._empty[oldest]
            self._forgotten = max(self._forgotten, self._tables.pop(oldest).commit)
