"""TokenReview over HTTP: a token in, the status that an API server answers with out.

The address and credentials of the API server are given; our own token is read again for every
review, because it is replaced while we run.
"""

import json
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Final

import httpx

from controlplane.authentication.caller import CallerKind
from controlplane.authentication.review import ReviewError, Status

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_LARGEST: Final = 256 * 1024


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
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": sorted(audiences)},
        }
        try:
            answer = await self._client.post(PATH, json=body, headers=self._headers())
        # From None: an error of the client carries the request, and with it the token.
        except (httpx.HTTPError, OSError) as error:
            raise ReviewError(type(error).__name__) from None
        if not answer.is_success or len(answer.content) > _LARGEST:
            raise ReviewError(f"HTTP status {answer.status_code}")
        try:
            status = json.loads(answer.content)["status"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ReviewError("the answer is not a TokenReview") from None
        if not isinstance(status, dict):
            raise ReviewError("the answer is not a TokenReview")
        return status

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"authorization": f"Bearer {self._token_file.read_text().strip()}"}
