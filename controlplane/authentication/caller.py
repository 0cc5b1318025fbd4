"""The result of authentication: a service account, and the pod and node its token is bound to.

``ca`` issues certificates to it, ``xds`` checks that it speaks for its own node; both take any
``Authenticator``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from controlplane.model.names import Name

Metadata = Mapping[str, Sequence[str] | str]
"""Request headers by lower-case name; one that was sent more than once has all its values."""


class CallerKind(StrEnum):
    """How the caller proved who it is."""

    CLUSTER_TOKEN = "cluster-token"  # noqa: S105 - a kind of token, no token
    LOCAL_TOKEN = "local-token"  # noqa: S105 - a kind of token, no token


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated service account.

    ``cluster`` is the id that was resolved, never what the caller sent. Texts are "" where the
    token says nothing: without ``pod_uid`` it is not bound to a pod. ``credential_id`` is the id
    of the token (its jti), ``expires_at`` Unix seconds.
    """

    namespace: str
    service_account: str
    cluster: str
    pod_name: str = ""
    pod_uid: str = ""
    node_name: str = ""
    node_uid: str = ""
    credential_id: str = ""
    expires_at: float | None = None
    kind: CallerKind = CallerKind.CLUSTER_TOKEN

    @property
    def account(self) -> Name:
        """Return the service account, as settings name accounts."""
        return Name(self.namespace, self.service_account)

    @property
    def pod(self) -> Name:
        """Return the name of the pod its token is bound to; nameless when it is not."""
        return Name(self.namespace, self.pod_name)

    @property
    def is_bound_to_pod(self) -> bool:
        """Return whether the token dies with one pod."""
        return bool(self.pod_name and self.pod_uid)


class Authenticator(Protocol):
    """Tells who is calling."""

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        """Return the caller, by its request headers and transport address.

        Raises:
            MalformedCredentialsError: they contradict themselves.
            UnauthenticatedError: they are missing or not valid.
            AuthenticationLimitedError: too many are being verified.
            AuthenticationUnavailableError: they cannot be verified now.
        """
        ...
