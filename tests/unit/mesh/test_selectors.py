from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from controlplane.dataflow import Fetch, Graph
from controlplane.mesh.selectors import Pairs, build_selectors
from controlplane.model.names import Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    key: Name
    selector: Pairs | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    key: Name
    labels: tuple[tuple[str, str], ...]


labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
choosers = st.builds(
    lambda namespace, name, selector: Chooser(
        key=Name(namespace, name),
        selector=None if selector is None else frozenset(selector.items()),
    ),
    st.sampled_from(("n", "m")),
    st.sampled_from("1234"),
    st.none() | labels,
)
subjects = st.builds(
    lambda namespace, name, chosen: Subject(
        key=Name(namespace, name), labels=tuple(sorted(chosen.items()))
    ),
    st.sampled_from(("n", "m")),
    st.sampled_from("567"),
    labels,
)
edits = st.lists(choosers | subjects | choosers.map(lambda item: item.key), min_size=1, max_size=12)


@given(edits)
def test_a_look_up_finds_what_a_scan_would_find_after_every_change(
    history: list[Chooser | Subject | Name],
) -> None:
    graph = Graph(run_twice=True)
    sources = graph.input("choosers", Chooser, key=lambda item: item.key)
    targets = graph.input("subjects", Subject, key=lambda item: item.key)
    selectors = build_selectors(graph, "choosers by labels", sources)

    def rule(fetch: Fetch, subject: Subject) -> tuple[Name, ...]:
        found = selectors.select(fetch, subject.key.namespace, dict(subject.labels))
        return tuple(item.key for item in found)

    chosen = graph.derive("chosen", targets, rule)
    for edit in history:
        with graph.transaction():
            if isinstance(edit, Chooser):
                sources.put(edit)
            elif isinstance(edit, Subject):
                targets.put(edit)
            else:
                sources.remove(edit)
        for key, subject in targets.items():
            expected = sorted(
                item.key
                for _, item in sources.items()
                if item.key.namespace == subject.key.namespace
                and item.selector is not None
                and item.selector <= set(subject.labels)
            )
            assert list(chosen.get(key) or ()) == expected


def test_a_change_touches_only_what_it_selects() -> None:
    graph = Graph()
    sources = graph.input("choosers", Chooser, key=lambda item: item.key)
    targets = graph.input("subjects", Subject, key=lambda item: item.key)
    selectors = build_selectors(graph, "choosers by labels", sources)
    graph.derive(
        "chosen",
        targets,
        lambda fetch, subject: selectors.select(fetch, "n", dict(subject.labels)),
    )
    first = Chooser(key=Name("n", "first"), selector=frozenset({("app", "0"), ("tier", "x")}))
    with graph.transaction():
        sources.put(first)
        for number in range(100):
            pairs = (("app", str(number)), ("tier", "x"))
            targets.put(Subject(key=Name("n", f"s{number}"), labels=pairs))
    before = graph.rule_calls
    with graph.transaction():
        sources.put(Chooser(key=Name("n", "second"), selector=frozenset({("app", "7")})))
    assert graph.rule_calls - before == 1
    with graph.transaction():
        sources.put(Chooser(key=Name("n", "third"), selector=frozenset({("zone", "7")})))
    assert graph.rule_calls - before == 1
