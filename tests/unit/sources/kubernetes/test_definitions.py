import asyncio
import json

import msgspec

from controlplane.cluster.errors import ClusterError, ClusterUnavailableError
from controlplane.sources.kubernetes.definitions import Definitions
from controlplane.sources.kubernetes.wire import NotUnderstoodError
from tests.support.kubernetes_objects import a_definition

NAME = "things.g.io"


def text(*versions: str, uid: str = "u1", plural: str = "things") -> msgspec.Raw:
    document = a_definition("g.io", versions, "Thing", plural)
    document["metadata"]["uid"] = uid
    return msgspec.Raw(json.dumps(document).encode())


def made() -> Definitions:
    return Definitions(frozenset({NAME}), lambda _error: None)


def listed(definitions: Definitions, *texts: msgspec.Raw) -> None:
    definitions.list_began()
    for each in texts:
        definitions.listed(each)
    definitions.list_ended()


async def test_nothing_is_known_before_a_whole_list() -> None:
    definitions = made()
    waiting = asyncio.ensure_future(definitions.known())
    definitions.list_began()
    definitions.listed(text("v1"))
    await asyncio.sleep(0)
    assert not waiting.done()
    definitions.list_ended()
    await waiting
    assert definitions.get(NAME) is not None


async def test_one_made_again_is_another() -> None:
    definitions = made()
    listed(definitions, text("v1"))
    first = definitions.get(NAME)
    waiting = asyncio.ensure_future(definitions.until_other_than(NAME, first))
    await asyncio.sleep(0)
    definitions.happened("DELETED", text("v1"))
    definitions.happened("ADDED", text("v1", uid="u2"))
    await waiting
    assert definitions.get(NAME) != first


def test_a_list_forgets_what_it_does_not_name_and_others_are_left_aside() -> None:
    definitions = made()
    listed(definitions, text("v1"), text("v1", plural="others"))
    assert definitions.get("others.g.io") is None
    listed(definitions, msgspec.Raw(b"{}"))
    assert definitions.get(NAME) is None


def test_trouble_is_passed_on() -> None:
    told: list[ClusterError | NotUnderstoodError | None] = []
    definitions = Definitions(frozenset(), told.append)
    error = ClusterUnavailableError("away")
    strange = NotUnderstoodError("no list")
    definitions.troubled(error)
    definitions.troubled(strange)
    definitions.heard()
    assert told == [error, strange, None]
