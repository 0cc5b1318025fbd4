"""Random graphs for the engine's tests, and a brute-force evaluator that knows nothing of it.

A `Plan` is a graph as data. `Rig` builds it with the engine, commits steps into it and compares
everything that can be seen with `evaluate`, which computes each collection anew from the inputs.
A difference of any kind raises `MismatchError`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.dataflow import Change, Collection, Fetch, Graph, Index, Input
from controlplane.dataflow.input import Edits

Choose = Callable[[int], int]
"""`choose(n)` gives a number below n: from a seeded generator or from hypothesis."""

KEYS = 6
VALUES = 12
State = dict[str, dict[int, Any]]
Step = tuple[tuple[str, int, int | None], ...]
"""One transaction: (input, key, value), a value of None removes."""


class MismatchError(AssertionError):
    """The engine and the evaluator disagree."""


@dataclass(frozen=True, slots=True)
class Item:
    """What inputs hold."""

    key: int
    value: int


@dataclass(frozen=True, slots=True)
class Node:
    """One collection of a plan; `sources` and `reads` name earlier ones."""

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    reads: tuple[tuple[str, str, int], ...] = ()


Plan = tuple[Node, ...]


def a_plan(choose: Choose, *, size: int = 5) -> Plan:
    """Two inputs and up to `size` collections on them, of every kind."""
    nodes = [Node("input-0", "input"), Node("input-1", "input")]
    kinds = ("derive", "derive", "derive_many", "union", "group", "distinct")
    for number in range(1 + choose(size)):
        names = [node.name for node in nodes]
        kind = kinds[choose(len(kinds))]
        sources = tuple(names[choose(len(names))] for _ in range(2 if kind == "union" else 1))
        reads = tuple(
            (("one", "where", "matching", "all")[choose(4)], names[choose(len(names))], choose(3))
            for _ in range(choose(4) if kind.startswith("derive") else 0)
        )
        nodes.append(Node(f"{kind}-{number}", kind, sources, reads))
    return tuple(nodes)


def a_history(choose: Choose, *, steps: int = 6, edits: int = 4) -> tuple[Step, ...]:
    """Transactions of puts and removals, with many overlaps."""
    return tuple(
        tuple(
            (f"input-{choose(2)}", choose(KEYS), None if choose(3) == 0 else choose(VALUES))
            for _ in range(1 + choose(edits))
        )
        for _ in range(1 + choose(steps))
    )


def final_inputs(history: Sequence[Step]) -> dict[str, dict[int, int]]:
    """What a history leaves in the inputs."""
    inputs: dict[str, dict[int, int]] = {"input-0": {}, "input-1": {}}
    for step in history:
        for name, key, value in step:
            if value is None:
                inputs[name].pop(key, None)
            else:
                inputs[name][key] = value
    return inputs


def number_of(value: Any) -> int:
    """Any value of any collection as a number."""
    if isinstance(value, Item):
        return value.value
    if isinstance(value, tuple):
        return sum(value) + len(value)
    return int(value)


def buckets_of(value: Any) -> list[int]:
    """The index every collection of a rig has: overlapping buckets, sometimes none."""
    number = number_of(value)
    return [] if number % 7 == 6 else [number % 3, number % 4]


def single_result(number: int) -> int | None:
    """What a `derive` rule makes of the sum of what it read."""
    return None if number % 5 == 4 else number % 11


def many_results(number: int) -> dict[int, int]:
    """What a `derive_many` rule makes of it: few keys, so that claims clash."""
    return {key: number % 6 + key for key in (number % 4, number % 3) if number % 5}


def _read_keys(kind: str, argument: int, own: int) -> int:
    return (own + argument) % (KEYS if kind == "one" else 4)


def evaluate(plan: Plan, inputs: Mapping[str, Mapping[int, int]]) -> State:
    """Every collection of `plan`, computed from nothing but `inputs`."""
    state: State = {}
    for node in plan:
        if node.kind == "input":
            state[node.name] = {
                key: Item(key, value) for key, value in sorted(inputs[node.name].items())
            }
        elif node.kind == "union":
            first, second = (state[name] for name in node.sources)
            state[node.name] = {**second, **first}
        elif node.kind in ("group", "distinct"):
            members: dict[int, Any] = {}
            for key, value in sorted(state[node.sources[0]].items()):
                for bucket in sorted(set(buckets_of(value))):
                    members[bucket] = (*members.get(bucket, ()), key)
            is_group = node.kind == "group"
            state[node.name] = {b: keys if is_group else b for b, keys in members.items()}
        else:
            state[node.name] = _evaluate_rule(node, state)
    return state


def _evaluate_rule(node: Node, state: State) -> dict[int, Any]:
    results: dict[int, Any] = {}
    for owner, value in sorted(state[node.sources[0]].items()):
        number = number_of(value)
        total = number + sum(sum(map(number_of, _see(state, read, number))) for read in node.reads)
        if node.kind == "derive":
            single = single_result(total)
            if single is not None:
                results[owner] = single
        else:
            for key, result in many_results(total).items():
                results.setdefault(key, result)
    return results


def _see(state: State, read: tuple[str, str, int], own: int) -> list[Any]:
    kind, name, argument = read
    values = [value for _, value in sorted(state[name].items())]
    key = _read_keys(kind, argument, own)
    if kind == "one":
        return [state[name][key]] if key in state[name] else []
    if kind == "all":
        return values
    found = [value for value in values if key in buckets_of(value)]
    return found if kind == "where" else [v for v in found if number_of(v) % 2 == argument % 2]


class Rig:
    """A plan built with the engine, and the evaluator beside it."""

    def __init__(self, plan: Plan, **arguments: Any) -> None:
        self.plan = plan
        self.graph = Graph(**arguments)
        self.inputs: dict[str, dict[int, int]] = {"input-0": {}, "input-1": {}}
        self.expected = evaluate(plan, self.inputs)
        self.collections: dict[str, Collection[int, Any]] = {}
        self.indexes: dict[str, Index[int, int, Any]] = {}
        self.replayed: State = {}
        self.glitches: list[str] = []
        for node in plan:
            collection = self._build(node)
            self.collections[node.name] = collection
            self.indexes[node.name] = collection.index("buckets", buckets_of)
            self.replayed[node.name] = {}
            collection.subscribe(self._replayer(node.name))

    def edit(self, step: Step) -> None:
        """Stage `step` in the open transaction and foresee its outcome."""
        for name, key, value in step:
            target = self.input(name)
            if value is None:
                target.remove(key)
            else:
                target.put(Item(key, value))
        self.foresee(step)

    def foresee(self, step: Step) -> None:
        """Compute what must be seen once `step` is committed."""
        for name, key, value in step:
            if value is None:
                self.inputs[name].pop(key, None)
            else:
                self.inputs[name][key] = value
        self.expected = evaluate(self.plan, self.inputs)

    def commit(self, step: Step) -> None:
        """Commit `step` and compare."""
        with self.graph.transaction():
            self.edit(step)
        self.check()

    def edits(self, step: Step) -> dict[Input[Any, Any], Edits[Any, Any]]:
        """`step` in the form `commit_async` takes."""
        staged: dict[Input[Any, Any], Edits[Any, Any]] = {}
        for name, key, value in step:
            edits = staged.setdefault(self.input(name), Edits())
            if value is None:
                edits.remove(key)
            else:
                edits.put(key, Item(key, value))
        return staged

    def input(self, name: str) -> Input[int, Item]:
        """An input by name."""
        collection = self.collections[name]
        assert isinstance(collection, Input)
        return collection

    def state(self) -> State:
        """All committed values."""
        return {name: dict(collection.items()) for name, collection in self.collections.items()}

    def check(self) -> None:
        """Compare everything that can be seen. Raises: MismatchError."""
        if self.glitches:
            raise MismatchError(f"a rule saw a half-finished state: {self.glitches[0]}")
        if self.graph.failures:
            raise MismatchError(f"rules failed: {self.graph.failures}")
        for name, expected in self.expected.items():
            for what, seen in (("holds", self.state()[name]), ("replays", self.replayed[name])):
                if seen != expected:
                    raise MismatchError(f"{name} {what} {seen}, expected {expected}")
            if len(self.collections[name]) != len(expected):
                raise MismatchError(f"{name} counts {len(self.collections[name])}")

    def check_empty(self) -> None:
        """Remove everything and look for what was left behind. Raises: MismatchError."""
        self.commit(
            tuple((name, key, None) for name in self.inputs for key in list(self.inputs[name]))
        )
        found = leftovers(self.graph)
        if found:
            raise MismatchError(f"left behind: {found}")

    def _replayer(self, name: str) -> Callable[[Sequence[Change[int, Any]]], None]:
        def replay(changes: Sequence[Change[int, Any]]) -> None:
            values = self.replayed[name]
            if not changes or len({change.key for change in changes}) != len(changes):
                raise MismatchError(f"{name} delivered {changes}")
            for key, old, new in changes:
                if values.get(key) != old or old == new:
                    raise MismatchError(f"{name} said {key} went from {old} to {new}")
                if new is None:
                    del values[key]
                else:
                    values[key] = new

        return replay

    def _build(self, node: Node) -> Collection[int, Any]:
        graph = self.graph
        if node.kind == "input":
            return graph.input(node.name, Item, key=lambda item: item.key)
        source = self.collections[node.sources[0]]
        if node.kind == "union":
            return graph.union(node.name, *(self.collections[name] for name in node.sources))
        if node.kind == "group":
            return graph.group(node.name, self.indexes[node.sources[0]])
        if node.kind == "distinct":
            return graph.distinct(node.name, self.indexes[node.sources[0]])
        if node.kind == "derive_many":
            return graph.derive_many(
                node.name, source, lambda fetch, value: many_results(self._sum(node, fetch, value))
            )
        return graph.derive(
            node.name, source, lambda fetch, value: single_result(self._sum(node, fetch, value))
        )

    def _sum(self, node: Node, fetch: Fetch, value: Any) -> int:
        own = number_of(value)
        total = own
        for read in node.reads:
            seen = self._fetch(fetch, read, own)
            if seen != _see(self.expected, read, own):
                self.glitches.append(f"{node.name} read {seen} by {read}")
            total += sum(map(number_of, seen))
        return total

    def _fetch(self, fetch: Fetch, read: tuple[str, str, int], own: int) -> list[Any]:
        kind, name, argument = read
        key = _read_keys(kind, argument, own)
        if kind == "one":
            value = fetch.one(self.collections[name], key)
            return [] if value is None else [value]
        if kind == "all":
            return list(fetch.all(self.collections[name]))
        if kind == "where":
            return list(fetch.where(self.indexes[name], key))
        parity = argument % 2
        return list(
            fetch.where(self.indexes[name], key, lambda value: number_of(value) % 2 == parity)
        )


def run(plan: Plan, history: Sequence[Step], **arguments: Any) -> Rig:
    """Build `plan`, commit `history` with a comparison after each step."""
    rig = Rig(plan, **arguments)
    for step in history:
        rig.commit(step)
    return rig


def leftovers(graph: Graph) -> list[str]:
    """What a graph whose inputs are empty still holds on to."""
    found: list[str] = []
    for collection in graph._collections:
        holders: list[tuple[str, Any]] = [
            (f"{collection.name}.{attribute}", getattr(collection, attribute))
            for attribute in (
                "working",
                "previous",
                "dirty",
                "cells",
                "failed",
                "everything",
                "staged",
                "_outputs",
                "_owners",
                "_contested",
                "_resolved",
            )
            if hasattr(collection, attribute)
        ]
        holders.append((f"{collection.name}.readers", collection.readers.cells))
        for index in collection.indexes:
            holders += [
                (f"{index.name}.buckets", index.buckets),
                (f"{index.name}.readers", index.readers.cells),
                (f"{index.name}.failed", index.failed),
            ]
        found += [f"{name}: {held!r}" for name, held in holders if held]
    return found
