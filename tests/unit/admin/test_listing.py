"""Pages of a sorted list that changes while it is read."""

import random

import pytest

from controlplane.admin.errors import BadCursorError
from controlplane.admin.reading.cursor import read_cursor, write_cursor
from controlplane.admin.reading.listing import Found, Listing
from controlplane.dataflow import Graph, Input

Named = tuple[str, str, int]
"""A namespace, a name and a number that tells equal names apart."""


class Names:
    """A collection of names by number, and its listing."""

    def __init__(self, *names: Named, before: bool = False) -> None:
        self.graph = Graph()
        self.input: Input[int, Named] = self.graph.input("names", tuple, key=lambda each: each[2])
        if before:
            self.put(*names)
        self.listing: Listing[int, Named] = Listing(self.input, lambda _, each: each[:2])
        if not before:
            self.put(*names)

    def put(self, *names: Named) -> None:
        with self.graph.transaction():
            for name in names:
                self.input.put(name)

    def remove(self, *numbers: int) -> None:
        with self.graph.transaction():
            for number in numbers:
                self.input.remove(number)


def some(count: int) -> list[Named]:
    return [(f"ns-{number % 7}", f"name-{number % 13}", number) for number in range(count)]


def in_order(names: list[Named]) -> list[Named]:
    return sorted(names)


async def all_of(names: Names, *, limit: int, namespace: str | None = None) -> list[Named]:
    found: list[Named] = []
    after = ""
    for _ in range(1000):
        page = await names.listing.page(after=after, limit=limit, namespace=namespace)
        assert len(page.items) <= limit
        found += [value for _, value in page.items]
        if page.next is None:
            return found
        after = page.next
    raise AssertionError("pages without end")


@pytest.mark.proves("AM-20")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 99, 100, 101, 1000])
async def test_pages_are_the_whole_list_in_order(limit: int, *, before: bool) -> None:
    names = Names(*some(100), before=before)
    assert await all_of(names, limit=limit) == in_order(some(100))


async def test_one_namespace_is_a_range_of_it() -> None:
    names = Names(*some(100), ("ns-1x", "other", 1000), ("ns-", "other", 1001))
    expected = [each for each in in_order(some(100)) if each[0] == "ns-1"]
    assert await all_of(names, limit=3, namespace="ns-1") == expected
    assert names.listing.count("ns-1") == len(expected)
    assert names.listing.count("missing") == 0
    assert names.listing.count() == 102
    assert await all_of(names, limit=3, namespace="") == []


@pytest.mark.refutes("AM-20")
async def test_what_comes_and_goes_moves_nothing() -> None:
    names = Names(*some(100))
    rest = in_order(some(100))
    page = await names.listing.page(limit=10)
    names.remove(*(number for _, _, number in rest[:10]), rest[20][2])
    names.put(("ns-0", "a", 500), ("ns-9", "z", 501))
    found: list[Named] = []
    while page.next:
        page = await names.listing.page(after=page.next, limit=10)
        found += [value for _, value in page.items]
    assert found == [*rest[10:20], *rest[21:], ("ns-9", "z", 501)]


async def test_a_value_that_moves_is_listed_where_it_is_now() -> None:
    names = Names(*some(3))
    names.put(("zz", "last", 0))
    assert (await all_of(names, limit=10))[-1] == ("zz", "last", 0)
    assert names.listing.count() == 3


async def test_the_cursor_of_a_full_last_page_is_none() -> None:
    names = Names(*some(10))
    assert (await names.listing.page(limit=10)).next is None
    assert (await names.listing.page(limit=9)).next is not None


@pytest.mark.proves("AM-21")
async def test_a_request_looks_at_so_many_only() -> None:
    names = Names(*some(1000))

    async def page(after: str = "") -> Found[int, Named]:
        return await names.listing.page(
            after=after,
            limit=5,
            keep=lambda _, each: each[2] == in_order(some(1000))[700][2],
            most=300,
        )

    first = await page()
    assert (first.items, first.next is None) == ([], False)
    second = await page(first.next or "")
    assert second.items == []
    third = await page(second.next or "")
    assert len(third.items) == 1


@pytest.mark.refutes("AM-21")
async def test_a_request_that_finds_enough_looks_no_further() -> None:
    looked = 0

    def keep(_: int, each: Named) -> bool:
        nonlocal looked
        looked += 1
        return True

    names = Names(*some(1000))
    await names.listing.page(limit=5, keep=keep)
    assert looked == 5


async def test_among_known_keys_only_those_are_looked_at() -> None:
    names = Names(*some(100))
    page = await names.listing.page(limit=2, among=[5, 50, 70, 999])
    assert [each for each in in_order(some(100)) if each[2] in (5, 50, 70)][:2] == [
        value for _, value in page.items
    ]
    last = await names.listing.page(after=page.next or "", limit=2, among=[5, 50, 70])
    assert (len(last.items), last.next) == (1, None)


@pytest.mark.refutes("AM-20")
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "é",
        "====",
        write_cursor(()),
        write_cursor(("a",)),
        write_cursor((1, 2, 3)),
        write_cursor(("ns-0", "name-0", "text")),
        write_cursor(("ns-0", "name-0", (1,))),
        write_cursor(("ns-0", "name-0", None)),
        "W" * 4000,
        "W1tb" * 1000,
    ],
)
async def test_a_cursor_of_somebody_else_is_refused(cursor: str) -> None:
    names = Names(*some(100))
    with pytest.raises(BadCursorError):
        await names.listing.page(after=cursor, limit=5)


def test_cursors_come_back_as_they_were() -> None:
    for place in (("a", "b", ("c", "d")), ("ä", "\ud800", 5), ("", "", ((("x",),),))):
        assert read_cursor(write_cursor(place)) == place


@pytest.mark.parametrize("seed", range(20))
async def test_a_listing_follows_any_history(seed: int) -> None:
    draw = random.Random(seed)
    names = Names()
    there: dict[int, Named] = {}
    for _ in range(30):
        changed = [(draw.choice("abc"), draw.choice("xyz"), draw.randrange(40)) for _ in range(5)]
        gone = [number for number in draw.sample(range(40), 5) if number in there]
        names.put(*changed)
        there |= {each[2]: each for each in changed}
        names.remove(*gone)
        for number in gone:
            del there[number]
    assert await all_of(names, limit=7) == in_order(list(there.values()))
    for namespace in "abc":
        assert names.listing.count(namespace) == sum(e[0] == namespace for e in there.values())
