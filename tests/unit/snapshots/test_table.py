"""Tables: staged changes, commits, what is newer, forgotten tombstones."""

from controlplane.snapshots.table import FRESH, Replacement, Table
from tests.support.discovery import a_workload

A, B = a_workload("c//Pod/ns/a"), a_workload("c//Pod/ns/b")
A2 = a_workload("c//Pod/ns/a", padding="2")


def test_staged_changes_are_invisible_until_published() -> None:
    table = Table()
    table.stage([(A.name, A)])
    assert (len(table), table.is_staged, A.name in table) == (0, True, False)
    assert table.publish(1)
    assert (len(table), table.is_staged, table.get(A.name)) == (1, False, A)


def test_equal_resources_and_needless_removals_change_nothing() -> None:
    table = Table()
    table.stage([(A.name, A)])
    table.publish(1)
    table.stage([(A.name, a_workload("c//Pod/ns/a")), (B.name, None)])
    assert not table.publish(2)
    assert table.commit == 1
    assert table.tombstones == 0


def test_the_last_staged_change_of_a_name_wins() -> None:
    table = Table()
    table.stage([(A.name, A), (A.name, A2), (B.name, B)])
    table.stage([(B.name, None)])
    table.publish(1)
    assert table.resources() == [A2]


def test_history_holds_the_last_change_of_each_name_newer_than_a_commit() -> None:
    table = Table()
    for commit, change in enumerate([(A.name, A), (B.name, B), (A.name, A2), (B.name, None)], 1):
        table.stage([change])
        table.publish(commit)
    assert [name for name, _ in table.history(FRESH)] == [A.name, B.name]
    assert [(name, entry.commit) for name, entry in table.history(2)] == [(A.name, 3), (B.name, 4)]
    assert table.history(4) == []


def test_tombstones_are_forgotten_beyond_the_limit_and_the_floor_says_so() -> None:
    table = Table(tombstone_limit=4)
    names = [f"c//Pod/ns/{number}" for number in range(6)]
    table.stage([(name, a_workload(name)) for name in names])
    table.publish(1)
    for commit, name in enumerate(names, 2):
        table.stage([(name, None)])
        table.publish(commit)
    assert table.tombstones <= 4
    assert table.floor > 1
    assert not table.reaches(1)
    assert table.reaches(table.floor)
    assert table.reaches(FRESH)


def test_listeners_hear_net_changes_once_per_commit() -> None:
    table = Table()
    heard: list[tuple[Replacement, ...]] = []
    table.stage([(A.name, A)])
    table.publish(1)
    table.listen(lambda changes: heard.append(tuple(changes)))
    table.stage([(A.name, A2), (B.name, B)])
    table.publish(2)
    table.stage([(B.name, B)])
    table.publish(3)
    assert heard == [(Replacement(A.name, A, A2), Replacement(B.name, None, B))]


def test_many_changes_leave_the_table_as_small_as_its_contents() -> None:
    table = Table(tombstone_limit=10)
    versions = [A, A2]
    for commit in range(1, 2001):
        table.stage([(A.name, versions[commit % 2]), (f"c//Pod/ns/gone-{commit}", B)])
        table.publish(2 * commit)
        table.stage([(f"c//Pod/ns/gone-{commit}", None)])
        table.publish(2 * commit + 1)
    assert len(table) == 1
    assert table.tombstones <= 10


def test_a_table_tells_what_its_last_commit_did() -> None:
    table = Table()
    assert (table.updated, table.removed, table.newest(5)) == (0, 0, [])
    c = a_workload("c//Pod/ns/c")
    table.stage([(A.name, A), (B.name, B)])
    table.publish(1)
    table.stage([(A.name, A)])
    table.publish(2)
    assert (table.commit, table.updated, table.removed) == (1, 2, 0)
    table.stage([(A.name, None), (c.name, c), ("c//Pod/ns/never", None)])
    table.publish(3)
    assert (table.updated, table.removed) == (1, 1)
    assert (table.newest(5), table.newest(1)) == ([c.name, A.name], [c.name])
