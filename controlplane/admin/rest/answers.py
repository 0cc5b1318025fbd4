"""Answers of the API: values in, JSON with an entity tag out, or 304 when the asker has it."""

from collections.abc import Iterable
from hashlib import blake2b

from fastapi import Request, Response
from pydantic import BaseModel

JSON = "application/json"


def tagged(request: Request, value: BaseModel) -> Response:
    """Return ``value`` as JSON; its tag is a hash of the text."""
    body = value.model_dump_json().encode()
    tag = tag_of(body)
    if has_tag(request, tag):
        return not_modified(tag)
    return Response(body, media_type=JSON, headers={"etag": tag})


def plain(value: BaseModel) -> Response:
    """Return ``value`` as JSON without a tag: for what is different every time."""
    return Response(value.model_dump_json(), media_type=JSON)


def tag_of(*parts: bytes) -> str:
    """Return the entity tag of what ``parts`` say."""
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return f'"{digest.hexdigest()}"'


def has_tag(request: Request, tag: str) -> bool:
    """Return whether the asker says that it has the answer with this tag (If-None-Match)."""
    return any(each in (tag, "*") for each in _tags(request.headers.getlist("if-none-match")))


def not_modified(tag: str) -> Response:
    """Return the answer to who has it already."""
    return Response(status_code=304, headers={"etag": tag})


def _tags(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        for tag in value.split(","):
            yield tag.strip().removeprefix("W/")
