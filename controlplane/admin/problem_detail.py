"""Errors as answers: RFC 9457 problem documents with one precise sentence each."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from controlplane.admin.errors import (
    AdminError,
    BadCursorError,
    BadQuestionError,
    EndingError,
    NotAllowedError,
    RefusedError,
    TooManyWaitingError,
)
from controlplane.store.errors import StoreError

MEDIA_TYPE: Final = "application/problem+json"

_TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Not understood",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
}
_STATUSES: Final[Mapping[type[AdminError], int]] = {
    BadCursorError: 400,
    BadQuestionError: 400,
    NotAllowedError: 403,
    TooManyWaitingError: 429,
    EndingError: 503,
}
_SAID: Final = 500


class InvalidField(BaseModel):
    """One part of a request that is not understood."""

    where: str
    message: str


class ProblemDetail(BaseModel):
    """What went wrong (RFC 9457). ``detail`` is a sentence for people."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[InvalidField] = Field(default_factory=list)


def problem_response(
    status: int,
    detail: str,
    *,
    errors: list[InvalidField] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error as an answer."""
    problem = ProblemDetail(
        title=_TITLES.get(status, "Error"), status=status, detail=detail, errors=errors or []
    )
    return JSONResponse(
        problem.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return these error answers as the API's document describes them."""
    schema = {"$ref": "#/components/schemas/ProblemDetail"}
    return {
        status: {
            "description": _TITLES[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def answer_problems(application: FastAPI) -> None:
    """Have every error of ``application`` answered as a problem document."""

    async def admin_error(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RefusedError):
            return problem_response(error.status, str(error), headers=error.headers)
        status = _STATUSES.get(type(error), 404) if isinstance(error, AdminError) else 500
        return problem_response(status, str(error))

    async def store_error(_: Request, error: Exception) -> JSONResponse:
        return problem_response(
            503, f"The database does not answer: {error}", headers={"retry-after": "5"}
        )

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        found = error.errors() if isinstance(error, RequestValidationError) else ()
        fields = [
            InvalidField(where=".".join(map(str, each["loc"])), message=str(each["msg"])[:_SAID])
            for each in found
        ]
        first = f"{fields[0].where}: {fields[0].message}" if fields else "it is malformed"
        return problem_response(422, f"The request is not understood: {first}", errors=fields)

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        sentences = {
            404: f"There is nothing at {request.url.path[:_SAID]}; /api/v1/openapi.json and "
            "/debug/list say what there is.",
            405: f"{request.method[:20]} is not possible at {request.url.path[:_SAID]}.",
        }
        text = str(error.detail) if isinstance(error, HTTPException) else ""
        return problem_response(status, sentences.get(status, text), headers=headers)

    application.add_exception_handler(AdminError, admin_error)
    application.add_exception_handler(StoreError, store_error)
    application.add_exception_handler(RequestValidationError, invalid)
    application.add_exception_handler(HTTPException, http_error)
