import json

import msgspec
import pytest

from controlplane.sources.kubernetes.wire import (
    NotUnderstoodError,
    read_definition,
    read_event,
    read_page,
    status_code,
    version_of,
)
from tests.support.kubernetes_objects import a_definition


def test_a_page_says_where_the_next_is() -> None:
    body = b'{"metadata":{"resourceVersion":"7","continue":"abc"},"items":[{"a":1},{"b":2}]}'
    page = read_page(body)
    assert (page.version, page.next_page) == ("7", "abc")
    assert [bytes(item) for item in page.items] == [b'{"a":1}', b'{"b":2}']


def test_a_list_of_nothing_is_empty() -> None:
    page = read_page(b'{"metadata":{"resourceVersion":"7"},"items":null}')
    assert page.items == []
    assert page.next_page == ""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"metadata":{}}', b'{"metadata":{"resourceVersion":7}}', b"\xff"]
)
def test_what_is_no_list_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(NotUnderstoodError):
        read_page(body)


def test_an_event_keeps_its_object_as_bytes() -> None:
    event = read_event(b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"8"}}}')
    assert event.type == "ADDED"
    assert version_of(event.object) == "8"


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"object":{}}', b'{"type":1,"object":{}}'])
def test_what_is_no_event_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(NotUnderstoodError):
        read_event(line)


def test_an_object_without_version_is_not_gone_on_from() -> None:
    with pytest.raises(NotUnderstoodError):
        version_of(msgspec.Raw(b'{"metadata":{}}'))


def test_the_code_of_a_status_is_read() -> None:
    assert status_code(b'{"kind":"Status","code":410}') == 410
    assert status_code(b"nonsense") == 0


def test_a_definition_says_what_is_served() -> None:
    document = a_definition("g.io", ("v1", "v2"), "Thing", "things")
    document["spec"]["versions"][1]["served"] = False
    document["metadata"]["uid"] = "u1"
    found = read_definition(msgspec.Raw(json.dumps(document).encode()))
    assert (found.name, found.uid, found.group) == ("things.g.io", "u1", "g.io")
    assert (found.plural, found.versions, found.is_established) == ("things", ("v1",), True)


def test_what_is_no_definition_is_said_to_be_none() -> None:
    with pytest.raises(NotUnderstoodError):
        read_definition(msgspec.Raw(b'{"metadata":{"name":"x"}}'))
