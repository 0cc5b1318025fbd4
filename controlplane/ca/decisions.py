"""Whose certificate a request is for: caller and metadata in, one identity or a refusal out.

What has to be known of nodes and their pods is asked of a ``NodeAuthorizer``.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.struct_pb2 import Struct

from controlplane.authentication.caller import Caller
from controlplane.ca.errors import (
    ImpersonationDeniedError,
    MalformedRequestError,
    UnboundCredentialsError,
)
from controlplane.model.identity import Identity
from controlplane.model.names import Name

IMPERSONATED_IDENTITY = "ImpersonatedIdentity"
CERTIFICATE_SIGNER = "CertSigner"


class NodeAuthorizer(Protocol):
    """Knows which service accounts have pods on which nodes."""

    async def authorize(self, caller: Caller, identity: Identity) -> None:
        """Return if ``caller``, a node proxy, may hold a certificate of ``identity``.

        May wait a bounded time for pods it has not heard of yet.

        Raises:
            ImpersonationDeniedError: it may not.
            UnavailableError: it cannot be told.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The identity a certificate is made for.

    ``is_impersonated`` when the caller named it; ``is_for_node_proxy`` when it is a node proxy's
    own.
    """

    identity: Identity
    is_impersonated: bool
    is_for_node_proxy: bool = False


def named_identity(metadata: Struct) -> str | None:
    """Return the identity that a request's metadata names; None when it names none.

    Raises:
        MalformedRequestError: it names one in anything but a string.
    """
    value = metadata.fields.get(IMPERSONATED_IDENTITY)
    if value is None:
        return None
    if value.WhichOneof("kind") != "string_value":
        raise MalformedRequestError(
            "the impersonated identity is not a string", reason_code="identity-not-a-string"
        )
    return value.string_value


def asks_for_signer(metadata: Struct) -> bool:
    """Return whether metadata asks for a particular signer: there is one, so it is ignored."""
    value = metadata.fields.get(CERTIFICATE_SIGNER)
    return (
        value is not None
        and value.WhichOneof("kind") == "string_value"
        and (value.string_value != "")
    )


class Decisions:
    """Decides for one trust domain, as docs/protocol/certificates.md CA-8 to CA-12 say.

    ``node_accounts`` are the service accounts of node proxies.
    """

    def __init__(
        self,
        nodes: NodeAuthorizer,
        *,
        trust_domain: str,
        node_accounts: AbstractSet[Name] = frozenset(),
        allows_unbound_credentials: bool = False,
    ) -> None:
        self._nodes = nodes
        self._node_accounts = node_accounts
        self._trust_domain = trust_domain
        self._allows_unbound = allows_unbound_credentials

    async def decide(self, caller: Caller, named: str | None) -> Decision:
        """Return whose certificate ``caller`` gets when it names ``named``, or nobody.

        Raises:
            UnboundCredentialsError: it asks for itself with credentials of no particular pod.
            ImpersonationDeniedError: it may not have the identity it names.
            UnavailableError: whether it may cannot be told.
        """
        if named is None:
            return Decision(
                identity=self._own(caller),
                is_impersonated=False,
                is_for_node_proxy=caller.account in self._node_accounts,
            )
        identity = Identity.parse(named)
        if identity is None:
            raise ImpersonationDeniedError("identity-malformed")
        if identity.trust_domain != self._trust_domain:
            raise ImpersonationDeniedError("foreign-trust-domain")
        await self._nodes.authorize(caller, identity)
        return Decision(identity=identity, is_impersonated=True)

    def _own(self, caller: Caller) -> Identity:
        if not (caller.pod_name and caller.pod_uid) and not self._allows_unbound:
            raise UnboundCredentialsError("the credentials belong to no pod")
        try:
            return Identity(
                trust_domain=self._trust_domain,
                namespace=caller.namespace,
                service_account=caller.service_account,
            )
        except ValueError as error:
            raise UnboundCredentialsError(
                f"the caller has no identity: {error}", reason_code="caller-without-identity"
            ) from error
