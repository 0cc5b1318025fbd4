"""Everything of one kind as the API server has it: a path in, pages of decoded objects out.

For looking at many objects at the price of a few requests; what is kept of each is the caller's.
"""

from collections.abc import AsyncGenerator
from typing import Final, TypeVar

import msgspec

from controlplane.cluster.apply import Applied, Lead, Outcome, Target, ask_as_leader, outcome_of
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.refusal import refusal_in
from controlplane.controllers.errors import UnlistedError
from controlplane.model.names import ObjectReference

PAGE: Final = 500

T = TypeVar("T")


class _ListMetadata(msgspec.Struct):
    next_page: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)
    items: list[msgspec.Raw] | None = None


_lists: Final = msgspec.json.Decoder(_List)
_FAILURES: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def whole_kind(kind: str) -> ObjectReference:
    """Return what stands for a kind as a whole among its objects."""
    return ObjectReference(kind, "", "")


def target_at(path: str, namespace: str, name: str) -> Target:
    """Return the object ``name`` of the kind that is listed at ``path``."""
    prefix, _, plural = path.rpartition("/")
    version = prefix.removeprefix("/apis/").removeprefix("/api/")
    return Target(api_version=version, plural=plural, namespace=namespace, name=name)


async def pages_of(
    client: ClusterClient, lead: Lead, path: str, decoder: msgspec.json.Decoder[T]
) -> AsyncGenerator[list[T], None]:
    """Yield everything at ``path``, page by page; an object that does not decode is left out.

    Raises:
        UnlistedError: the list broke off, for the reason in it.
    """
    next_page = ""
    while True:
        params = {"limit": str(PAGE), **({"continue": next_page} if next_page else {})}
        answer = await ask_as_leader(client, lead, "GET", path, params=params)
        if isinstance(answer, Applied):
            raise UnlistedError(answer)
        refusal = refusal_in(answer)
        if refusal is not None:
            message = refusal.message or str(refusal)
            raise UnlistedError(Applied(outcome=outcome_of(refusal), message=message))
        try:
            found = _lists.decode(answer.body)
        except _FAILURES as error:
            message = "the answer is no list"
            raise UnlistedError(Applied(outcome=Outcome.UNAVAILABLE, message=message)) from error
        yield list(_decoded(found.items or (), decoder))
        next_page = found.metadata.next_page
        if not next_page:
            return


def _decoded(items: "list[msgspec.Raw] | tuple[()]", decoder: msgspec.json.Decoder[T]) -> list[T]:
    decoded = []
    for item in items:
        try:
            decoded.append(decoder.decode(item))
        except _FAILURES:
            continue
    return decoded
