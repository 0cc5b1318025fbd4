"""TokenReview over HTTP: a token in, the status that an API server answers with out.

The address and credentials of the API server are given; our own token is read again for every
review, because it is replaced while we run.
"""

import ssl
from collections.abc import Collection
from pathlib import Path

import httpx

from controlplane.authentication.caller import CallerKind
from controlplane.authentication.review import PATH, ReviewError, Status, review_of, status_in


class HttpTokenReviews:
    """Asks one API server. ``token_file`` holds our own credentials, ``root_file`` its CA."""

    kind = CallerKind.CLUSTER_TOKEN

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        root_file: Path | None = None,
        connections: int = 32,
    ) -> None:
        self._token_file = token_file
        self._client = httpx.AsyncClient(
            base_url=url,
            verify=ssl.create_default_context(cafile=root_file) if root_file else True,
            limits=httpx.Limits(max_connections=connections),
            # Time is limited by whoever asks; a proxy of the environment must not see tokens.
            timeout=None,  # noqa: S113 - see above
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def review(self, token: str, audiences: Collection[str]) -> Status:
        """Return the ``status`` of a TokenReview of ``token`` for ``audiences``.

        Raises:
            ReviewError: the API server cannot be reached, refuses us or answers nonsense.
        """
        try:
            answer = await self._client.post(
                PATH,
                content=review_of(token, audiences),
                headers={"content-type": "application/json", **self._headers()},
            )
        # From None: an error of the client carries the request, and with it the token.
        except (httpx.HTTPError, OSError) as error:
            raise ReviewError(type(error).__name__) from None
        return status_in(answer.status_code, answer.content)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"authorization": f"Bearer {self._token_file.read_text().strip()}"}
