"""What is asked of the API server: paths and bytes in, answers out, whoever carries them."""

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol


class Answer(NamedTuple):
    """One answer of the API server; ``retry_after`` are the seconds it asks us to wait, or 0."""

    status: int
    body: bytes
    retry_after: float = 0.0


class ClusterClient(Protocol):
    """Speaks to one API server, as one identity."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 10.0,  # noqa: ASYNC109 - enforced by whoever carries the request
    ) -> Answer:
        """Return the answer, whatever its status.

        Raises:
            ClusterUnavailableError: there is none within ``timeout`` seconds.
        """
        ...

    def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Return the lines of a watch as they come; it ends when the API server ends it.

        An empty line comes first, as soon as the watch is open: the next may be a minute away.

        Raises:
            ClusterUnavailableError: the connection broke, or nothing came for too long.
            ClusterRefusedError: there was no watch, but an answer with an error status.
        """
        ...
