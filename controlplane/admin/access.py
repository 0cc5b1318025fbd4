"""Who may ask: a request's peer and headers in, a ``Viewer`` out, or why not.

This machine is trusted, if that is set; everybody else shows a token: of a service account, or the
admin token of a process without a cluster. A token that is shown decides, wherever it comes from.
Rules: docs/protocol/admin.md AM-1 to AM-14.
"""

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from controlplane.admin.errors import RefusedError
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.authentication.caller import Authenticator, Caller
from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    MalformedCredentialsError,
)

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which this machine reaches itself."""

_FORWARDED: Final = (
    "forwarded",
    "x-forwarded",
    "x-original-",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "via",
)
"""How headers begin that somebody in between adds."""
_BEARER: Final = "Bearer "

Headers = Mapping[str, Sequence[str]]
"""Request headers by lower-case name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who is trusted and how.

    ``root_namespaces`` tells, each time, whose accounts see the whole mesh. ``hosts``: names beside
    LOCAL_HOSTS under which loopback may be spoken to. ``audiences``: whom tokens are for, to say
    so. ``admin_token_file``: where the admin token is kept, to say so.
    """

    root_namespaces: Callable[[], Collection[str]]
    trusts_loopback: bool = True
    hosts: frozenset[str] = frozenset()
    audiences: tuple[str, ...] = ()
    admin_token_file: Path | None = None


class AdminAccess:
    """Lets requests in. Without ``authenticator`` and ``admin_token`` nobody's token counts."""

    def __init__(
        self,
        settings: AccessSettings,
        *,
        authenticator: Authenticator | None = None,
        admin_token: str = "",
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._admin_token = admin_token.encode()

    def authenticate_with(self, authenticator: Authenticator) -> None:
        """Accept tokens of service accounts from now on."""
        self._authenticator = authenticator

    def is_near(self, peer: str, headers: Headers) -> bool:
        """Return whether a request is let in for where it comes from, without a token."""
        if not (self._settings.trusts_loopback and is_loopback(peer)):
            return False
        try:
            self._by_place(headers)
        except RefusedError:
            return False
        return True

    async def viewer(self, peer: str, headers: Headers) -> Viewer:
        """Return on whose behalf a request from the address ``peer`` is made.

        Raises:
            RefusedError: it is not let in.
        """
        if "authorization" in headers:
            return await self._by_token(peer, headers)
        if self._settings.trusts_loopback and is_loopback(peer):
            return self._by_place(headers)
        raise RefusedError(
            401, f"Nobody said who is asking. {self._what_is_needed()}", _challenge("")
        )

    def _by_place(self, headers: Headers) -> Viewer:
        """Trust this machine, unless somebody else may be speaking through it."""
        if any(name.startswith(_FORWARDED) for name in headers):
            raise RefusedError(
                401,
                "The request was forwarded, so that it comes from this machine says nothing. "
                f"{self._what_is_needed()}",
                _challenge(""),
            )
        hosts = headers.get("host", ())
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            raise RefusedError(
                403,
                "Without a token this machine is reached as localhost, 127.0.0.1 or [::1] only, "
                "or by a name that the setting admin_hosts holds: another name may have been made "
                "up by a web page.",
            )
        return EVERYTHING

    def _is_known(self, host: str) -> bool:
        name = host_name(host)
        return name in LOCAL_HOSTS or name in self._settings.hosts

    async def _by_token(self, peer: str, headers: Headers) -> Viewer:
        values = headers["authorization"]
        if len(values) == 1 and values[0].startswith(_BEARER):
            token = values[0].removeprefix(_BEARER).encode()
            if self._admin_token and hmac.compare_digest(token, self._admin_token):
                return Viewer(name="the holder of the admin token", namespace=None)
        if self._authenticator is None:
            raise RefusedError(
                401,
                f"The token is not accepted. {self._what_is_needed()}",
                _challenge("invalid_token"),
            )
        try:
            caller = await self._authenticator.authenticate(headers, _transport_address(peer))
        except MalformedCredentialsError:
            raise RefusedError(400, "The request names its credentials more than once.") from None
        except AuthenticationLimitedError:
            raise RefusedError(
                429, "Too many tokens are being verified: try again.", {"retry-after": "1"}
            ) from None
        except AuthenticationUnavailableError:
            raise RefusedError(
                503,
                "Whoever verifies tokens does not answer now: try again.",
                {"retry-after": "1"},
            ) from None
        except AuthenticationError:
            raise RefusedError(
                401,
                f"The token is not accepted. {self._what_is_needed()}",
                _challenge("invalid_token"),
            ) from None
        return self._viewer_of(caller)

    def _viewer_of(self, caller: Caller) -> Viewer:
        name = f"service account {caller.account}"
        if caller.namespace in self._settings.root_namespaces():
            return Viewer(name=name, namespace=None)
        return Viewer(name=name, namespace=caller.namespace)

    def _what_is_needed(self) -> str:
        ways = []
        if self._authenticator is not None:
            audiences = " or ".join(self._settings.audiences) or "this control plane"
            ways.append(f"a token of a service account for the audience {audiences}")
        if self._admin_token:
            kept = self._settings.admin_token_file
            where = "" if kept is None else f" (the file {kept.name} in the data folder)"
            ways.append(f"the admin token{where}")
        if not ways:
            return "Only this machine is served here."
        return f"Send 'Authorization: Bearer TOKEN' with {', or '.join(ways)}."


def is_loopback(peer: str) -> bool:
    """Return whether an address is this machine's own; "" and names are not."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address.is_loopback if mapped is None else mapped.is_loopback


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header: without port, brackets and capitals."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _challenge(error: str) -> dict[str, str]:
    value = 'Bearer realm="istiod-lite"'
    return {"www-authenticate": f'{value}, error="{error}"' if error else value}


def _transport_address(peer: str) -> str:
    """Return an address as authentication knows those of gRPC, so that limits are per host."""
    return f"ipv6:[{peer}]:0" if ":" in peer else f"ipv4:{peer}:0"
