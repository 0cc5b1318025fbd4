from controlplane.dataflow import Fetch, Graph


def test_reads_are_ordered_and_shared_while_nothing_changes() -> None:
    graph = Graph(shuffle=1)
    words = graph.input("words", str, key=lambda word: word)
    by_length = words.index("length", lambda word: [len(word)])
    askers = graph.input("askers", int, key=lambda number: number)
    seen: list[tuple[tuple[str, ...], ...]] = []

    def rule(fetch: Fetch, _: int) -> None:
        seen.append(
            (
                fetch.where(by_length, 1),
                fetch.all(words),
                fetch.where(by_length, 1, matching=lambda word: word > "a"),
            )
        )

    graph.derive("asked", askers, rule)
    with graph.transaction():
        words.replace(["c", "a", "bb", "b"])
        askers.replace([1, 2])
    assert seen[0] == (("a", "b", "c"), ("a", "b", "bb", "c"), ("b", "c"))
    assert all(mine is yours for mine, yours in zip(seen[0][:2], seen[1][:2], strict=True))
