"""Errors as pages: what the API tells programs in a document, the page tells people."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from controlplane.admin.errors import AdminError, BadCursorError, NotAllowedError
from controlplane.admin.page.rendering import Renderer
from controlplane.store.errors import StoreError


def page_route(renderer: Renderer) -> type[APIRoute]:
    """Return the class of routes whose errors are pages that ``renderer`` makes."""

    class PageRoute(APIRoute):
        """A route that answers people."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """Return the handler, with errors caught."""
            handler = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    return await handler(request)
                except (AdminError, StoreError, RequestValidationError) as error:
                    return await _answer(renderer, error)

            return answer

    return PageRoute


async def _answer(renderer: Renderer, error: Exception) -> Response:
    match error:
        case BadCursorError():
            return await _error(renderer, 400, "This place in the list is no longer known.")
        case NotAllowedError():
            return await _error(renderer, 403, str(error))
        case RequestValidationError():
            where = ".".join(map(str, error.errors()[0]["loc"][1:]))
            return await _error(renderer, 422, f"What was asked for is not understood: {where}.")
        case StoreError():
            return await _error(renderer, 503, f"The database does not answer: {error}")
        case _:
            return await _error(renderer, 404, str(error))


async def _error(renderer: Renderer, status: int, sentence: str) -> Response:
    titles = {400: "Not there", 403: "Not for you", 404: "Not here", 503: "Not now"}
    text = sentence[:1].upper() + sentence[1:]
    return await renderer.page(
        "error.html", status=status, title=titles.get(status, "Not understood"), sentence=text
    )
