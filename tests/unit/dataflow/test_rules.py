from collections.abc import Mapping

import pytest

from controlplane.dataflow import (
    KEEP,
    Change,
    Fetch,
    Graph,
    ImpureRuleError,
    Index,
    Input,
    Keep,
    ReadOrderError,
)
from tests.support.dataflow import leftovers


class World:
    """Words under their first letter, counted by what a rule asks."""

    def __init__(self, **arguments: bool) -> None:
        self.graph = Graph(**arguments)
        self.words: Input[str, str] = self.graph.input("words", str, key=lambda word: word[0])
        self.others: Input[str, str] = self.graph.input("others", str, key=lambda word: word[0])
        self.by_length: Index[int, str, str] = self.others.index("length", lambda w: [len(w)])

    def put(self, *words: str) -> int:
        """Put words into `words`; returns how many rules ran."""
        return self._commit(self.words, words)

    def put_other(self, *words: str) -> int:
        """Put words into `others`; returns how many rules ran."""
        return self._commit(self.others, words)

    def _commit(self, target: Input[str, str], words: tuple[str, ...]) -> int:
        calls = self.graph.rule_calls
        with self.graph.transaction():
            for word in words:
                target.put(word)
        return self.graph.rule_calls - calls


def test_none_makes_no_value() -> None:
    world = World()
    short = world.graph.derive("short", world.words, lambda _, w: w if len(w) < 4 else None)
    world.put("a", "bbbb")
    assert short.items() == [("a", "a")]
    world.put("aaaa", "b")
    assert short.items() == [("b", "b")]


def test_an_equal_value_stops_where_it_arrives() -> None:
    world = World()
    lengths = world.graph.derive("lengths", world.words, lambda _, w: len(w))
    world.graph.derive("squares", lengths, lambda _, n: n * n)
    assert world.put("ab") == 2
    assert world.put("ab") == 0
    assert world.put("ac") == 1
    assert world.put("abc") == 2


def test_a_rule_depends_on_the_key_it_read_present_or_absent() -> None:
    world = World()
    pairs = world.graph.derive(
        "pairs", world.words, lambda fetch, w: (w, fetch.one(world.others, w[-1]))
    )
    world.put("ax", "by")
    assert world.put_other("xylophone") == 1
    assert world.put_other("zebra") == 0
    assert pairs.get("a") == ("ax", "xylophone")
    assert pairs.get("b") == ("by", None)
    assert world.put("az") == 1
    assert world.put_other("xenon") == 0
    with world.graph.transaction():
        world.others.remove("z")
    assert pairs.get("a") == ("az", None)


def test_a_rule_depends_on_the_bucket_it_read() -> None:
    world = World()
    same = world.graph.derive(
        "same", world.words, lambda fetch, w: fetch.where(world.by_length, len(w))
    )
    world.put("aa", "bbb")
    assert world.put_other("zz", "yy") == 1
    assert same.get("a") == ("yy", "zz")
    assert same.get("b") == ()
    assert world.put_other("zzz") == 2
    assert (same.get("a"), same.get("b")) == (("yy",), ("zzz",))
    assert world.put_other("xxxx") == 0


def test_a_narrowed_read_is_judged_on_the_old_and_the_new_value() -> None:
    world = World()
    ends = world.graph.derive(
        "ends",
        world.words,
        lambda fetch, w: fetch.where(world.by_length, 2, matching=lambda other: other[-1] == w[-1]),
    )
    world.put("ax", "by")
    assert world.put_other("qx") == 1
    assert world.put_other("qz") == 1
    assert world.put_other("qw") == 0
    assert world.put_other("qy") == 1
    assert world.put_other("qyy") == 1
    assert (ends.get("a"), ends.get("b")) == ((), ())


def test_one_bucket_may_be_read_with_several_predicates_and_without() -> None:
    world = World()

    def rule(fetch: Fetch, word: str) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        for letter in word[1:]:
            found += fetch.where(world.by_length, 2, lambda w, end=letter: w[-1] == end)
        return fetch.where(world.by_length, 2) if word[0] == "e" else found

    derived = world.graph.derive("derived", world.words, rule)
    world.put("axyz", "ezzz")
    assert world.put_other("1x", "2y") == 2
    assert derived.get("a") == ("1x", "2y")
    assert world.put_other("1w") == 2
    assert world.put_other("1v") == 1
    assert derived.get("e") == ("1v", "2y")
    world.put("a")
    assert world.put_other("2x") == 1


def test_a_read_that_was_narrowed_and_is_no_longer_depends_on_all() -> None:
    world = World()

    def rule(fetch: Fetch, word: str) -> tuple[str, ...]:
        if fetch.one(world.words, "s") is None:
            return fetch.where(world.by_length, 2, lambda other: other[-1] == word[-1])
        return fetch.where(world.by_length, 2)

    derived = world.graph.derive("derived", world.words, rule)
    world.put("ax")
    assert world.put_other("1y") == 0
    world.put("s")
    assert world.put_other("1z") == 2
    assert derived.get("a") == ("1z",)


def test_a_rule_that_reads_everything_depends_on_everything() -> None:
    world = World()
    counts = world.graph.derive("counts", world.words, lambda fetch, _: fetch.all(world.others))
    world.put("a")
    world.put_other("z", "y")
    assert counts.get("a") == ("y", "z")


def test_keep_keeps_the_last_result_and_the_new_dependencies() -> None:
    world = World()

    def rule(fetch: Fetch, word: str) -> str | Keep:
        return KEEP if fetch.one(world.others, "s") else word

    kept = world.graph.derive("kept", world.words, rule)
    world.put("a1")
    world.put_other("stop")
    world.put("a2", "b2")
    assert kept.items() == [("a", "a1")]
    with world.graph.transaction():
        world.others.remove("s")
    assert kept.items() == [("a", "a2"), ("b", "b2")]


def test_a_raising_rule_keeps_its_result_is_recorded_and_retried() -> None:
    world = World()

    def rule(fetch: Fetch, word: str) -> int:
        return len(word) // len(fetch.one(world.others, "d") or "")

    derived = world.graph.derive("derived", world.words, rule)
    failures: list[int] = []
    world.graph.on_commit(lambda summary: failures.append(len(summary.failures)))
    world.put("aaaa")
    assert derived.items() == []
    error = world.graph.failures["derived", "a"]
    assert isinstance(error, ZeroDivisionError)
    assert error.__traceback__ is None
    assert "test_rules.py" in error.__notes__[0]
    assert world.put_other("dd") == 1
    assert derived.items() == [("a", 2)]
    assert not world.graph.failures
    with world.graph.transaction():
        world.others.remove("d")
    assert derived.items() == [("a", 2)]
    assert list(world.graph.failures) == [("derived", "a")]
    with world.graph.transaction():
        world.words.remove("a")
    assert derived.items() == []
    assert failures == [1, 0, 1, 0]
    assert leftovers(world.graph) == []


def test_a_kept_failure_holds_no_frames() -> None:
    world = World()
    shared = ValueError("always the same")

    def rule(_: Fetch, word: str) -> str:
        if word == "again":
            raise shared
        try:
            return str(int(word))
        except ValueError as error:
            raise RuntimeError(word) from error

    world.graph.derive("derived", world.words, rule)
    world.put("b")
    error = world.graph.failures["derived", "b"]
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None
    for word in ("again", "a", "again"):
        world.put(word)
    assert len(shared.__notes__) == 1


def test_a_raising_predicate_is_a_failure_that_is_retried() -> None:
    world = World()
    derived = world.graph.derive(
        "derived",
        world.words,
        lambda fetch, _: fetch.where(world.by_length, 2, matching=lambda other: int(other) > 10),
    )
    world.put("a")
    world.put_other("xx")
    assert isinstance(world.graph.failures["derived", "a"], ValueError)
    with world.graph.transaction():
        world.others.remove("x")
        world.others.put("42")
    assert derived.get("a") == ("42",)


@pytest.mark.parametrize("is_own", [True, False])
def test_a_rule_reads_only_what_is_built_before_it(*, is_own: bool) -> None:
    world = World()
    foreign = World().others

    def rule(fetch: Fetch, _: str) -> str | None:
        return fetch.one(derived if is_own else foreign, "a")

    derived = world.graph.derive("derived", world.words, rule)
    with pytest.raises(ReadOrderError, match="not built before"):
        world.put("a")


def test_a_fetch_is_useless_after_its_rule() -> None:
    world = World()
    taken: list[Fetch] = []
    world.graph.derive("derived", world.words, lambda fetch, _: taken.append(fetch))
    world.put("a")
    with pytest.raises(ReadOrderError, match="not running"):
        taken[0].one(world.others, "a")


def test_an_impure_rule_is_found_by_running_it_twice() -> None:
    world = World(run_twice=True)
    calls: list[str] = []

    def result(_: Fetch, word: str) -> int:
        calls.append(word)
        return len(calls)

    def reads(fetch: Fetch, word: str) -> None:
        calls.append(word)
        fetch.one(world.others, str(len(calls)))

    world.graph.derive("result", world.words, result)
    with pytest.raises(ImpureRuleError, match="gave 1, then 2"):
        world.put("a")
    world = World(run_twice=True)
    world.graph.derive("reads", world.words, reads)
    with pytest.raises(ImpureRuleError):
        world.put("a")


def test_pure_rules_run_twice_and_count_once() -> None:
    world = World(run_twice=True)
    calls: list[str] = []

    def rule(fetch: Fetch, word: str) -> int:
        calls.append(word)
        return len(fetch.where(world.by_length, 2, matching=lambda other: other[0] == word[0]))

    derived = world.graph.derive("derived", world.words, rule)
    assert world.put("a") == 1
    assert world.put_other("aa") == 1
    assert calls == ["a"] * 4
    assert derived.get("a") == 1


def test_a_change_costs_what_it_affects() -> None:
    world = World()
    graph = world.graph
    pods = graph.input("pods", tuple, key=lambda pod: pod[0])
    services = graph.input("services", tuple, key=lambda service: service[0])
    by_label = services.index("label", lambda service: [service[1]])
    workloads = graph.derive(
        "workloads", pods, lambda fetch, pod: (pod[0], fetch.where(by_label, pod[1]))
    )
    graph.group("nodes", workloads.index("node", lambda workload: [workload[0] % 10]))
    with graph.transaction():
        pods.replace((number, number % 200) for number in range(2000))
    calls = graph.rule_calls
    with graph.transaction():
        services.put(("s", 7))
    assert graph.rule_calls - calls == 10
    with graph.transaction():
        services.put(("s", 8))
    assert graph.rule_calls - calls == 30
    with graph.transaction():
        pods.put((7, 7))
        pods.put((8, 9))
    assert graph.rule_calls - calls == 31


def test_a_rule_for_many_gives_any_number_of_values() -> None:
    world = World()
    letters = world.graph.derive_many(
        "letters", world.words, lambda _, w: dict.fromkeys(w[1:], w[0])
    )
    world.put("axy", "b")
    assert dict(letters.items()) == {"x": "a", "y": "a"}
    world.put("ayz", "bx")
    assert dict(letters.items()) == {"x": "b", "y": "a", "z": "a"}
    with world.graph.transaction():
        world.words.replace([])
    assert leftovers(world.graph) == []


def test_the_smallest_owner_wins_and_the_runner_up_follows() -> None:
    world = World()

    def rule(_: Fetch, word: str) -> Mapping[str, str] | Keep:
        return KEEP if word.endswith("!") else dict.fromkeys(word[1:], word)

    claimed = world.graph.derive_many("claimed", world.words, rule)
    changes: list[Change[str, str]] = []
    claimed.subscribe(changes.extend)
    world.put("cx")
    world.put("bx")
    world.put("ax")
    assert claimed.get("x") == "ax"
    clash = world.graph.clashes[0]
    assert (clash.collection, clash.key, clash.owners) == ("claimed", "x", ("a", "b", "c"))
    world.put("axx")
    assert claimed.get("x") == "axx"
    with world.graph.transaction():
        world.words.remove("a")
        world.words.put("b")
    assert claimed.get("x") == "cx"
    assert world.graph.clashes == ()
    world.put("c!", "bx")
    assert claimed.get("x") == "bx"
    assert [change.new for change in changes] == ["cx", "bx", "ax", "axx", "cx", "bx"]
    with world.graph.transaction():
        world.words.replace([])
    assert leftovers(world.graph) == []


def test_a_key_that_changes_hands_has_one_net_change() -> None:
    world = World()
    claimed = world.graph.derive_many("claimed", world.words, lambda _, w: dict.fromkeys(w[1:], 1))
    seen: list[Change[str, int]] = []
    world.put("ax")
    claimed.subscribe(seen.extend)
    seen.clear()
    assert world.put("a", "bx") == 2
    assert claimed.get("x") == 1
    assert seen == []


def test_a_rule_for_many_that_returns_no_mapping_has_failed() -> None:
    world = World()
    many = world.graph.derive_many("many", world.words, lambda _, __: None)  # type: ignore[arg-type, return-value, var-annotated]
    world.put("a")
    assert isinstance(world.graph.failures["many", "a"], TypeError)
    assert many.items() == []
