"""A client of the API server that counts what is written through it, and what came of it."""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

from controlplane.cluster.client import Answer, ClusterClient
from controlplane.metrics import ClusterMetrics

_READS: Final = frozenset({"GET", "HEAD"})


class ObservedClient:
    """Passes everything on to ``client``."""

    def __init__(self, client: ClusterClient, metrics: ClusterMetrics) -> None:
        self._client = client
        self._metrics = metrics

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
        """Return the answer, whatever its status; raises ClusterUnavailableError."""
        outcome = "unavailable"
        try:
            answer = await self._client.request(
                method, path, params=params, body=body, content_type=content_type, timeout=timeout
            )
            outcome = "written" if 200 <= answer.status < 300 else str(answer.status)
        finally:
            if method not in _READS:
                self._metrics.writes.labels(resource=written_resource(path), outcome=outcome).inc()
        return answer

    def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Return the lines of a watch; see ``ClusterClient``."""
        return self._client.stream(path, params)


def written_resource(path: str) -> str:
    """Return the plural in ``path``, with its subresource: ``configmaps``, ``services/status``."""
    parts = [part for part in path.split("/") if part]
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:]
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
        rest = rest[2:]
    return "/".join((*rest[:1], *rest[2:3]))
