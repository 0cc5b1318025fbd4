"""What is known of the objects of one kind: lists and events in, net changes to the sink out.

An object that reads equal to what is known is no change, so a heartbeat ends here. One that cannot
be read keeps its last good version and is a Problem. What a whole list does not name is gone;
half a list removes nothing (docs/protocol/cluster.md KS-2 to KS-6).
"""

from dataclasses import replace
from typing import Final

import msgspec

from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import identity_of
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity
from controlplane.sources.kubernetes.kinds import Found, Readable, WatchedKind
from controlplane.sources.kubernetes.wire import written
from controlplane.sources.source import Origin, Sink

PLACE: Final = "kubernetes"
_MOST_TOLD: Final = 100


class Objects:
    """The objects of one kind, as the cluster gave them last."""

    def __init__(self, kind: str, sink: Sink) -> None:
        self._sink = sink
        self._known: dict[Name, Readable] = {}
        self._refused: dict[Name, Problem] = {}
        self._refused_changed = False
        self._told: tuple[Problem, ...] = ()
        self._trouble: tuple[Problem, ...] = ()
        self._listed: set[Name] = set()
        self._lists_nameless = False
        self._place = Origin(file=f"{PLACE}/{kind}")

    def __len__(self) -> int:
        return len(self._known)

    def list_began(self) -> None:
        """Take note that a list of everything starts, maybe again."""
        self._listed = set()
        self._lists_nameless = False

    def listed(self, watched: WatchedKind, text: msgspec.Raw) -> None:
        """Take one object of the list."""
        found = watched.read(text)
        if found[0] is None:
            self._lists_nameless = True
        else:
            self._listed.add(found[0])
        self._take(found, text)

    def list_ended(self) -> None:
        """Remove what the list did not name; nothing if it held an object without a name."""
        listed, self._listed = self._listed, set()
        if self._lists_nameless:
            return
        gone = (self._known.keys() | self._refused.keys()) - listed
        for key in sorted(gone):
            self._remove(key)

    def changed(self, watched: WatchedKind, text: msgspec.Raw) -> float:
        """Take an added or changed object; return when it was made in Unix seconds, or 0."""
        found = watched.read(text)
        self._take(found, text)
        manifest = found[1]
        return manifest.metadata.created if isinstance(manifest, Manifest) else 0.0

    def deleted(self, watched: WatchedKind, text: msgspec.Raw) -> None:
        """Forget an object; ``text`` is its last state."""
        key, _ = watched.read(text)
        if key is not None:
            self._remove(key)

    def emptied(self) -> None:
        """Forget all: the kind is no longer there."""
        self.list_began()
        self.list_ended()

    def trouble(self, problems: tuple[Problem, ...]) -> None:
        """Say what is wrong with reading the kind as a whole; replaces what was said."""
        if self._trouble != problems:
            self._trouble = problems
            self._refused_changed = True

    def tell(self) -> None:
        """Tell the sink what is wrong now, if that has changed."""
        if not self._refused_changed:
            return
        self._refused_changed = False
        shown = [self._refused[key] for key in sorted(self._refused)[:_MOST_TOLD]]
        left = len(self._refused) - len(shown)
        told = (*self._trouble, *shown, *((_more(left),) if left else ()))
        if told != self._told:
            self._told = told
            self._sink.problems(self._place, told)

    def _take(self, found: Found, text: msgspec.Raw) -> None:
        key, value = found
        if key is None or value is None:
            return
        if isinstance(value, Problem):
            if key in self._known:
                value = _kept(value)
            if self._refused.get(key) != value:
                self._refused[key] = value
                self._refused_changed = True
            return
        if self._refused and self._refused.pop(key, None) is not None:
            self._refused_changed = True
        if self._known.get(key) != value:
            self._known[key] = value
            # Asked only now: an object that reads equal must cost no more than reading it.
            said = written(text)
            origin = Origin(file=PLACE, version=said.version)
            self._sink.put(value, origin, written_at=said.at)

    def _remove(self, key: Name) -> None:
        if self._refused.pop(key, None) is not None:
            self._refused_changed = True
        known = self._known.pop(key, None)
        if known is not None:
            identity = identity_of(known)
            self._sink.remove(identity.kind, identity.key)


def _kept(problem: Problem) -> Problem:
    return replace(problem, message=f"{problem.message}; the last good version stays in force")


def _more(left: int) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        code="manifest.invalid",
        message=f"{left} more objects of the kind cannot be read",
    )
