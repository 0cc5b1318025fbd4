"""What one kind of client sees of one type: tables come in, shared frames go out to sessions.

A view is one table, or several with distinct names, perhaps through a form that rewrites or hides
resources.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from itertools import chain
from weakref import WeakValueDictionary

from controlplane.encode.resource import Resource
from controlplane.snapshots.frame import PIECE_BYTES, SLICE, Frame, build_frame, finished
from controlplane.snapshots.scope import TableKey
from controlplane.snapshots.table import FRESH, Table

Form = Callable[[Resource], Resource | None]
"""How clients of a view see a resource; None hides it."""

_KEPT = 16
"""Frames of the current commit that stay although nobody holds them, one large one among them."""


class View:
    """Tables seen as one. ``tables`` is asked every time, because node tables come and go.

    ``committed`` returns the number of the current commit; ``forgotten`` that of the last commit
    whose removals went away together with a table. ``shows`` tells by its name whether a resource
    can ever be seen: what cannot be is not removed either. ``keys`` name the tables that may be
    among them.
    """

    def __init__(
        self,
        tables: Callable[[], Iterable[Table]],
        committed: Callable[[], int],
        *,
        keys: tuple[TableKey, ...] = (),
        form: Form | None = None,
        shows: Callable[[str], bool] = lambda _: True,
        forgotten: Callable[[], int] = lambda: 0,
    ) -> None:
        self.keys = keys
        self._tables = tables
        self._committed = committed
        self._form = form
        self._shows = shows
        self._forgotten = forgotten
        self._shared: WeakValueDictionary[int, Frame] = WeakValueDictionary()
        self._kept: dict[int, Frame] = {}
        self._shared_at = 0

    def __len__(self) -> int:
        """Return the number of live resources, hidden ones included."""
        return sum(map(len, self._tables()))

    @property
    def commit(self) -> int:
        """Return the number of the current commit."""
        return self._committed()

    @property
    def changed_at(self) -> int:
        """Return the commit of the last change of any of the tables."""
        return max((table.commit for table in self._tables()), default=0)

    @property
    def hides(self) -> bool:
        """Return whether ``len`` may count resources that nobody sees."""
        return self._form is not None

    def reaches(self, since: int) -> bool:
        """Return whether a client at ``since`` can be told what changed."""
        known = since >= self._forgotten() or since == FRESH
        return known and all(table.reaches(since) for table in self._tables())

    def is_newer(self, than: int) -> bool:
        """Return whether anything changed after a commit. Cost: O(1)."""
        return than == FRESH or any(table.commit > than for table in self._tables())

    def get(self, name: str) -> Resource | None:
        """Return the live resource ``name`` as this view shows it."""
        for table in self._tables():
            resource = table.get(name)
            if resource is not None:
                return self._form(resource) if self._form else resource
        return None

    def resources(self) -> list[Resource]:
        """Return every live resource as this view shows it, not cached."""
        return self.changes(FRESH)[0]

    def frame(self, since: int) -> Frame:
        """Return the step from ``since`` to the current commit; shared and cached."""
        return finished(self.frame_slices(since))

    def frame_slices(self, since: int) -> Generator[None, None, Frame]:
        """Do what ``frame`` does with breathing points; the commit is that of the first step."""
        commit = self.commit
        if commit != self._shared_at:
            self._shared_at = commit
            self._shared.clear()
            self._kept.clear()
        found = self._shared.get(since)
        if found is not None:
            return found
        updates, removed = self.changes(since)
        frame = yield from build_frame(commit, updates, tuple(removed))
        if commit == self._shared_at:
            self._shared[since] = frame
            if since == FRESH or (frame.size <= PIECE_BYTES and len(self._kept) < _KEPT):
                self._kept[since] = frame
        return frame

    def release(self) -> None:
        """Let go of the whole state, which is kept for the next fresh client."""
        self._kept.pop(FRESH, None)

    def removed(self, since: int, until: int) -> list[str]:
        """Return names whose removal is newer than ``since``, not newer than ``until``, and lasts.

        Cost: the changes newer than ``since``.
        """
        if since >= until:
            return []
        # A name that moved between tables went away only when the last of them let go of it.
        gone: dict[str, int] = {}
        for table in self._tables():
            for name, entry in table.history(since):
                if self._hidden(name, entry.resource):
                    gone[name] = max(entry.commit, gone.get(name, FRESH))
        return [name for name, commit in gone.items() if commit <= until]

    def difference(
        self, known: Mapping[str, str], asked: Iterable[str], since: int
    ) -> Generator[None, None, Frame]:
        """Compare everything with what a client knows, with breathing points.

        Args:
            known: name -> version the client holds; an empty version never matches.
            asked: names the client expects to hear about; removed when they do not exist.
            since: the commit this client was sent earlier on this stream, or FRESH.
        """
        commit = self.commit
        removed = dict.fromkeys(self.changes(since)[1]) if since != FRESH else {}
        everything = [resource for table in self._tables() for resource in table.resources()]
        updates: list[Resource] = []
        live = set()
        for number, original in enumerate(everything):
            if number % SLICE == SLICE - 1:
                yield
            resource = self._form(original) if self._form else original
            if resource is None:
                continue
            live.add(resource.name)
            version = known.get(resource.name, "")
            if not version or version != resource.version:
                updates.append(resource)
        for number, name in enumerate(chain(known, asked)):
            if number % (4 * SLICE) == 4 * SLICE - 1:
                yield
            if name not in live:
                removed[name] = None
        yield
        return (
            yield from build_frame(
                commit, updates, tuple(name for name in removed if name not in live)
            )
        )

    def changes(self, since: int) -> tuple[list[Resource], list[str]]:
        """Return updated resources and removed names since a commit, oldest first, not cached."""
        updates: list[Resource] = []
        removed: list[str] = []
        if since == FRESH:
            for table in self._tables():
                updates += table.resources()
            if self._form:
                updates = [shown for shown in map(self._form, updates) if shown]
            return updates, removed
        for table in self._tables():
            for name, entry in table.history(since):
                resource = entry.resource
                shown = self._form(resource) if self._form and resource else resource
                if shown is not None:
                    updates.append(shown)
                elif self._hidden(name, resource):
                    removed.append(name)
        return updates, removed

    def _hidden(self, name: str, resource: Resource | None) -> bool:
        """Return whether a name one table lacks, or hides, is shown by none of the tables."""
        if resource is not None:
            return self._form is not None and self._shows(name) and self._form(resource) is None
        return self._shows(name) and self.get(name) is None
