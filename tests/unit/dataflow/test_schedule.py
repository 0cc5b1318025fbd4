from controlplane.dataflow.schedule import Schedule


def test_the_smallest_number_is_taken_first() -> None:
    schedule = Schedule(shuffle=None, runs_twice=False)
    for number in (3, 1, 2):
        schedule.add(number)
    assert [schedule.take() for _ in range(4)] == [1, 2, 3, None]


def test_order_is_kept_without_a_seed_and_reproducible_with_one() -> None:
    items = list(range(20))
    plain = Schedule(shuffle=None, runs_twice=False)
    first, second = (Schedule(shuffle=7, runs_twice=False) for _ in range(2))
    assert list(plain.order(items)) == items
    shuffled = list(first.order(items))
    assert shuffled == list(second.order(items)) != items
    assert sorted(shuffled) == items
