"""One key set fetched: a URL in, its usable keys out, within limits of time, size and place.

No credentials are sent and no proxy is used, redirects are followed by us, and never from https to
http. docs/protocol/request-authentication.md RA-20 to RA-23.
"""

import asyncio
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from controlplane.authentication.errors import KeySetError
from controlplane.authentication.key_set import key_set_of
from controlplane.model.token_rule import KeySetRequest
from controlplane.sources.key_sets.addresses import is_near

_LARGEST: Final = 1 << 20
_MOST_REDIRECTS: Final = 3
_SECONDS: Final = 5.0
_MOST_SECONDS: Final = 30.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
_DISCOVERY: Final = "/.well-known/openid-configuration"


class Download(Protocol):
    """Fetches key sets; ``Downloads`` does."""

    async def __call__(self, request: KeySetRequest) -> str:
        """Return the usable keys; raises KeySetError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """``reaches_near`` allows this machine and its link; ``roots`` are a PEM file of more roots."""

    reaches_near: bool = False
    roots: Path | None = None


class Downloads:
    """Fetches over connections that nothing else uses; ``close`` it.

    Raises:
        KeySetError: the file of roots cannot be used.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._context = ssl.create_default_context()
        if settings.roots is not None:
            try:
                self._context.load_verify_locations(settings.roots)
            except (OSError, ssl.SSLError) as error:
                raise KeySetError(f"{settings.roots} cannot be read as PEM") from error

    async def __call__(self, request: KeySetRequest) -> str:
        """Return the usable keys of a key set; raises KeySetError."""
        seconds = min(request.seconds or _SECONDS, _MOST_SECONDS)
        try:
            async with asyncio.timeout(seconds), self._session() as session:
                return await _key_set(session, request.uri)
        except TimeoutError as error:
            raise KeySetError(f"it did not come within {seconds:g} seconds") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise KeySetError(_told(error)) from error

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._context,
            force_close=True,
            use_dns_cache=False,
            socket_factory=None if self._settings.reaches_near else _distant_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )


class _NearError(OSError):
    """An address that is not asked."""


def _distant_socket(info: Any) -> socket.socket:
    """Return a socket to connect; raises OSError for an address that is near.

    Whatever the name was looked up as, this is where the connection goes.
    """
    family, kind, protocol, _, address = info
    if is_near(str(address[0]).partition("%")[0]):
        raise _NearError("its address is one that is not asked for keys")
    return socket.socket(family=family, type=kind, proto=protocol)


async def _key_set(session: aiohttp.ClientSession, uri: str) -> str:
    document = await _document(session, URL(uri))
    if uri.endswith(_DISCOVERY) and isinstance(document, dict) and "jwks_uri" in document:
        if not isinstance(document["jwks_uri"], str):
            raise KeySetError("the issuer does not tell where its keys are")
        further = URL(document["jwks_uri"])
        if uri.startswith("https:") and further.scheme != "https":
            raise KeySetError("the issuer has its keys where anybody could change them")
        document = await _document(session, further)
    return key_set_of(document)


async def _document(session: aiohttp.ClientSession, url: URL) -> Any:
    for _ in range(_MOST_REDIRECTS + 1):
        if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
            raise KeySetError("it is not at a plain https or http URL")
        async with session.get(url, allow_redirects=False, headers=_HEADERS) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                further = url.join(URL(response.headers["Location"]))
                if url.scheme == "https" and further.scheme != "https":
                    raise KeySetError("it redirects to where anybody could change it")
                url = further
                continue
            if response.status != 200:
                raise KeySetError(f"the answer was HTTP status {response.status}")
            return await _json(response)
    raise KeySetError("it redirects too often")


async def _json(response: aiohttp.ClientResponse) -> Any:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise KeySetError("the answer is compressed, which was not asked for")
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _LARGEST:
            raise KeySetError(f"the answer has more than {_LARGEST} bytes")
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise KeySetError("the answer is not JSON") from error


def _told(error: Exception) -> str:
    """Return what went wrong, without anything that the other side wrote."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _NearError):
            return str(cause)
        nested = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        cause = nested[0] if nested else cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "its certificate cannot be trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be looked up"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it cannot be connected to"
    return f"the answer cannot be read ({type(error).__name__})"
