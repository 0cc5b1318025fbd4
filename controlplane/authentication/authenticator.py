"""Authentication of a request: headers in, its ``Caller`` out; cheap checks before dear ones.

``ca`` and ``xds`` use it alike. docs/protocol/authentication.md AU-n.
"""

from collections.abc import Collection, Mapping

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.clusters import Clusters, claimed_cluster
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.authentication.token_review import TokenReviewer
from controlplane.authentication.token_shape import bearer_token, check_shape
from controlplane.clock import Clock


class TokenAuthenticator:
    """Authenticates by bearer tokens; ``reviewers`` are by resolved cluster id."""

    def __init__(
        self,
        reviewers: Mapping[str, TokenReviewer],
        *,
        clusters: Clusters,
        audiences: Collection[str],
        clock: Clock,
    ) -> None:
        self._reviewers = dict(reviewers)
        self._clusters = clusters
        self._audiences = frozenset(audiences)
        self._clock = clock

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        """Return the caller, by its request headers and transport address.

        Raises:
            MalformedCredentialsError: they contradict themselves.
            UnauthenticatedError: they are missing or not valid.
            AuthenticationLimitedError: too many are being verified.
            AuthenticationUnavailableError: they cannot be verified now.
        """
        token = bearer_token(metadata)
        claimed = claimed_cluster(metadata)
        expires_at = check_shape(token, self._audiences, self._clock.now().timestamp())
        reviewer = self._reviewers.get(self._clusters.resolve(claimed))
        if reviewer is None:
            raise UnauthenticatedError(Reason.UNKNOWN_CLUSTER)
        return await reviewer.caller(token, peer=peer, expires_at=expires_at)

    def forget_pod(self, cluster: str, uid: str) -> None:
        """Forget what is known of tokens bound to a pod of ``cluster``, because it is gone."""
        reviewer = self._reviewers.get(cluster)
        if reviewer is not None:
            reviewer.forget_pod(uid)
