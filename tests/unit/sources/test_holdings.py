"""Which file an object is taken from, over any history of files."""

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from controlplane.manifests.core import Pod
from controlplane.manifests.metadata import Metadata
from controlplane.manifests.reading import Document, Identity, Reading, identity_of
from controlplane.sources.holdings import Holdings

if TYPE_CHECKING:
    from controlplane.model.problem import Problem
    from controlplane.sources.source import Origin

Content = dict[str, str]  # name of a pod -> its uid

contents = st.dictionaries(st.sampled_from("uvwxyz"), st.sampled_from("12"), max_size=4)
steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | contents, st.booleans()), max_size=12
)


def reading_of(content: Content) -> Reading:
    pods = [Pod(metadata=Metadata(name=name, uid=uid)) for name, uid in sorted(content.items())]
    return Reading(
        documents=tuple(Document(manifest=pod, line=n) for n, pod in enumerate(pods, start=1))
    )


class Receiver:
    """Replays what holdings say."""

    def __init__(self) -> None:
        self.objects: dict[Identity, tuple[object, Origin]] = {}
        self.problems: dict[str, tuple[Problem, ...]] = {}

    def take(self, holdings: Holdings) -> None:
        changes = holdings.changes()
        for identity in changes.removals:
            del self.objects[identity]
        for manifest, origin in changes.puts:
            identity = identity_of(manifest)
            assert self.objects.get(identity) != (manifest, origin), "told twice"
            self.objects[identity] = (manifest, origin)
        for origin, problems in changes.problems:
            assert self.problems.get(origin.file, ()) != problems, "told twice"
            self.problems[origin.file] = problems
        self.problems = {file: found for file, found in self.problems.items() if found}


@given(steps)
def test_any_history_ends_like_a_fresh_start(
    history: list[tuple[str, Content | None, bool]],
) -> None:
    holdings, receiver = Holdings("folder"), Receiver()
    final: dict[str, Content] = {}
    for file, content, told in history:
        if content is None:
            holdings.forget(file)
            final.pop(file, None)
        else:
            holdings.take(file, reading_of(content))
            final[file] = content
        if told:
            receiver.take(holdings)
    receiver.take(holdings)
    fresh, expected = Holdings("folder"), Receiver()
    for file in sorted(final, reverse=True):
        fresh.take(file, reading_of(final[file]))
    expected.take(fresh)
    assert receiver.objects == expected.objects
    assert receiver.problems == expected.problems
    for identity, (_, origin) in receiver.objects.items():
        assert origin.file == min(file for file in final if identity.key.name in final[file])
    for file in final:
        holdings.forget(file)
    receiver.take(holdings)
    assert (receiver.objects, receiver.problems) == ({}, {})
    assert not any((holdings._claims, holdings._published, holdings._reported, holdings._files))
