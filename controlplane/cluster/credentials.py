"""Who we are to the API server, and by which authority we know it, kept up to date.

In: what reads the configuration anew, such as a kubeconfig with the files it names. Out: where the
API server is, the headers of a request and a TLS context. Certificates, keys and tokens are
replaced while a process runs (the token of a pod every hour): what changed on disk is in force
within seconds, and nothing of it is when it cannot be used (docs/protocol/cluster.md KS-18).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from controlplane.clock import Clock
from controlplane.cluster.errors import ClusterConfigurationError

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 1.0
_READ_SECONDS: Final = 60.0
_Stamp = tuple[int, int, int]


class Credentials:
    """``configuration`` is the kubernetes package's, already filled.

    ``read`` returns a new one or raises ClusterConfigurationError; without it everything stays as
    it is. It is called once a minute (a kubeconfig may name a program that gives tokens), and
    within a second when one of ``files``, or a certificate that the configuration names, was
    written; it may take ``patience`` seconds.
    """

    def __init__(
        self,
        configuration: Any,
        *,
        clock: Clock,
        read: Callable[[], Awaitable[Any]] | None = None,
        files: tuple[Path, ...] = (),
        patience: float = 15.0,
    ) -> None:
        self._configuration = configuration
        self._clock = clock
        self._read = read
        self._files = files
        self._patience = patience
        self._trust = _context(configuration)
        self._seen = self._stamps()
        self._looked_at = self._read_at = clock.monotonic()
        self._is_doubted = False
        self._trouble = ""

    @property
    def host(self) -> str:
        """Return the URL of the API server, without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def trust(self) -> ssl.SSLContext:
        """Return the TLS context to connect with: another object after each change."""
        return self._trust

    @property
    def way(self) -> dict[str, Any]:
        """Return by which proxy and under which name the API server is reached."""
        way: dict[str, Any] = {}
        if self._configuration.proxy:
            way["proxy"] = self._configuration.proxy
        if self._configuration.tls_server_name:
            way["server_hostname"] = self._configuration.tls_server_name
        return way

    async def headers(self) -> dict[str, str]:
        """Return the headers that say who we are, after a look at what changed."""
        await self._refresh()
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        if token:
            return {"authorization": token}
        if self._configuration.username:
            return {"authorization": self._configuration.get_basic_auth_token()}
        return {}

    def doubted(self) -> None:
        """Take note that the API server does not know us (401): the next look reads anew."""
        self._is_doubted = True

    async def _refresh(self) -> None:
        now = self._clock.monotonic()
        if self._read is None or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        stamps = self._stamps()
        is_due = now - self._read_at >= _READ_SECONDS
        if stamps == self._seen and not is_due and not self._is_doubted:
            return
        self._read_at, self._is_doubted = now, False
        try:
            # A program that gives tokens may hang; until it answers we are who we were.
            async with asyncio.timeout(self._patience):
                self._take(await self._read(), stamps)
        except (ClusterConfigurationError, OSError, ValueError) as error:
            # Half a file, or a certificate without its key yet: the next look finds it whole. Only
            # our own errors may be quoted, others may name what is in the file.
            is_ours = isinstance(error, ClusterConfigurationError)
            self._note(str(error) if is_ours else type(error).__name__)
        else:
            self._note("")

    def _take(self, configuration: Any, stamps: Mapping[str, _Stamp | None]) -> None:
        """Use a new configuration as a whole, or raise and use nothing of it."""
        found = _stamps(configuration, self._files)
        # What was written since it was read is not known yet: keep the stamp from before.
        found = {path: stamps.get(path, stamp) for path, stamp in found.items()}
        if found != self._seen:
            self._trust = _context(configuration)
        self._configuration, self._seen = configuration, found

    def _stamps(self) -> dict[str, _Stamp | None]:
        return _stamps(self._configuration, self._files)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("cluster.credentials-kept", reason=trouble)
        self._trouble = trouble


def _context(configuration: Any) -> ssl.SSLContext:
    from kubernetes.aio.client.rest import RESTClientObject

    made: ssl.SSLContext = RESTClientObject(configuration).ssl_context
    return made


def _stamps(configuration: Any, files: tuple[Path, ...]) -> dict[str, _Stamp | None]:
    named = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    paths = (*map(str, files), *(str(path) for path in named if path))
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> _Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
