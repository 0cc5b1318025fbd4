from typing import Any

import pytest

from controlplane.controllers.address_book import AddressBook, Addresses
from controlplane.controllers.address_pool import AddressPool
from controlplane.manifests.istio import AllocatedAddress, ServiceEntry
from controlplane.model.names import Name
from controlplane.model.network import address_from_text
from tests.support.builders import a_service_entry

HOST = "a.example"
FOUR = AllocatedAddress("10.9.0.4", HOST)


def a_book(*names: str, text: str = "10.9.0.4/32", **entry: Any) -> AddressBook:
    book = AddressBook((AddressPool.from_text(text),))
    for number, name in enumerate(names):
        show(book, an_entry(name, created=float(number), **entry))
    return book


def an_entry(name: str, **entry: Any) -> ServiceEntry:
    return a_service_entry(name, hosts=[HOST], **entry)


def show(book: AddressBook, entry: ServiceEntry) -> None:
    book.put(entry)
    book.admit(entry.key, is_member=True)


def key(name: str) -> Name:
    return Name("default", name)


def given(book: AddressBook, name: str) -> Addresses:
    wanted = book.reserve(key(name))
    assert wanted is not None
    return wanted.addresses


@pytest.mark.proves("AL-11")
def test_what_is_reserved_is_in_use_until_it_is_released() -> None:
    book = a_book("first", "second")
    assert given(book, "first") == (FOUR,)
    assert given(book, "second") == ()
    assert book.release(key("first")) == {key("first"), key("second")}
    assert given(book, "second") == (FOUR,)
    assert book.release(key("first")) == set()
    book.release_all()
    assert given(book, "first") == (FOUR,)


@pytest.mark.proves("AL-11")
def test_what_was_seen_in_an_answer_is_newer_than_the_watch() -> None:
    book = a_book("first", "second")
    book.saw(key("first"), (FOUR,))
    # The watch shows something that its user did before.
    show(book, an_entry("first", labels={"edited": "yes"}))
    assert book.known(key("first")) == (FOUR,)
    assert not book.is_settled(key("first"))
    assert given(book, "second") == ()
    show(book, an_entry("first", status_addresses=(FOUR,)))
    assert book.is_settled(key("first"))
    assert book.seen() == []
    # From here on the watch is believed again.
    show(book, an_entry("first"))
    assert book.known(key("first")) == ()


@pytest.mark.proves("AL-2", "AL-10")
def test_an_entry_that_only_a_list_has_shown_keeps_its_address() -> None:
    book = a_book("known")
    book.saw(key("unknown"), (FOUR,))
    assert given(book, "known") == ()
    assert book.is_settled(key("unknown"))
    assert book.reserve(key("unknown")) is None
    assert book.saw(key("unknown"), None) == {key("known"), key("unknown")}
    assert given(book, "known") == (FOUR,)


def test_nothing_remains_of_what_is_gone() -> None:
    book = a_book("first", "second", text="10.9.0.0/29")
    for name in ("first", "second"):
        given(book, name)
    book.use(key("service"), [address_from_text("10.9.0.3") or b""])
    book.put(a_service_entry("block", addresses=("10.9.0.0/30", "10.9.0.3")))
    book.saw(key("ghost"), (FOUR,))
    for name in ("first", "second", "block", "never"):
        book.remove(key(name))
        book.admit(key(name), is_member=False)
    book.use(key("service"), [])
    book.saw(key("ghost"), None)
    assert book.keys() == []
    kept = (book._stated, book._holders, book._blocks, book._services, book._starved)
    assert not any(kept)


@pytest.mark.proves("AL-8")
def test_one_that_leaves_the_mesh_is_left_as_it_is() -> None:
    book = a_book("first", "second")
    given(book, "first")
    book.saw(key("first"), (FOUR,))
    book.admit(key("first"), is_member=False)
    assert book.reserve(key("first")) is None
    assert given(book, "second") == ()
    book.admit(key("first"), is_member=True)
    assert given(book, "first") == (FOUR,)


def test_who_else_has_an_address_learns_that_an_entry_came_or_left() -> None:
    book = a_book("first", "second", status_addresses=(FOUR,))
    assert book.is_settled(key("first"))
    assert not book.is_settled(key("second"))
    assert key("second") in book.admit(key("first"), is_member=False)


@pytest.mark.proves("AL-5")
def test_what_was_about_to_go_stays_when_it_is_wanted_again() -> None:
    book = a_book("entry", text="10.9.0.0/29", status_addresses=(FOUR,))
    show(book, an_entry("entry", resolution="NONE", status_addresses=(FOUR,)))
    assert given(book, "entry") == ()
    show(book, an_entry("entry", status_addresses=(FOUR,)))
    assert given(book, "entry") == (FOUR,)
    assert book.is_settled(key("entry"))


def test_what_is_no_longer_asked_for_concerns_who_went_without() -> None:
    book = a_book("first", "second")
    given(book, "first")
    given(book, "second")
    show(book, an_entry("first", resolution="NONE"))
    wanted = book.reserve(key("first"))
    assert wanted is not None
    assert wanted.concerned == {key("second")}
    assert given(book, "second") == (FOUR,)
