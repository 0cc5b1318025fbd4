"""TokenReview by the cluster we run in: a token in, the status its API server answers with out."""

from collections.abc import Collection

from controlplane.authentication.caller import CallerKind
from controlplane.authentication.review import PATH, ReviewError, Status, review_of, status_in
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError


class ClusterTokenReviews:
    """Asks the API server that ``client`` speaks to, as who ``client`` is."""

    kind = CallerKind.CLUSTER_TOKEN

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    async def review(self, token: str, audiences: Collection[str]) -> Status:
        """Return the ``status`` of a TokenReview of ``token`` for ``audiences``.

        Raises:
            ReviewError: the API server cannot be reached, refuses us or answers nonsense.
        """
        try:
            answer = await self._client.request("POST", PATH, body=review_of(token, audiences))
        # From None: an error of a client may carry the request, and with it the token.
        except ClusterError as error:
            raise ReviewError(type(error).__name__) from None
        return status_in(answer.status, answer.body)
