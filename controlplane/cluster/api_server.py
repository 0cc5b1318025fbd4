"""The real API server: where it is and who we are comes from the environment, answers go out.

The ``kubernetes`` package reads the configuration (kubeconfig or the files of a pod) and refreshes
credentials; requests go over its HTTP library without its models, so that answers stay bytes.
Both are imported only when a cluster is opened: a process without one never pays for them.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controlplane.clock import Clock, SystemClock
from controlplane.cluster.client import Answer
from controlplane.cluster.credentials import Credentials
from controlplane.cluster.errors import (
    ClusterConfigurationError,
    ClusterRefusedError,
    ClusterUnavailableError,
)

if TYPE_CHECKING:
    import aiohttp

_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
_LONGEST_LINE: Final = 64 * 1024 * 1024
_LONGEST_REFUSAL: Final = 64 * 1024
_READ: Final = 1024 * 1024
_LONGEST_WAIT: Final = 60.0
_UNKNOWN: Final = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLocation:
    """Which cluster: a kubeconfig and one of its contexts, or the one this process runs in.

    Without ``kubeconfig`` the pod's own files are used where there are any, else the kubeconfig
    that ``KUBECONFIG`` or the home directory names.
    """

    kubeconfig: Path | None = None
    context: str | None = None

    @property
    def is_in_pod(self) -> bool:
        """Tell whether the pod's own files are used."""
        return self.kubeconfig is None and bool(os.environ.get(_IN_CLUSTER))

    @property
    def is_found(self) -> bool:
        """Tell whether there is anything to read, without reading it."""
        if self.is_in_pod:
            return True
        return any(path.is_file() for path in self.files())

    def files(self) -> tuple[Path, ...]:
        """Return the kubeconfig files that are merged, in order."""
        if self.kubeconfig is not None:
            return (self.kubeconfig,)
        named = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config"))
        return tuple(Path(path).expanduser() for path in named.split(os.pathsep) if path)


class ApiServer:
    """A ``ClusterClient`` on connections to one API server; made by ``open_cluster``.

    ``idle_seconds`` is how long a watch may be silent: bookmarks come about once a minute, so a
    longer silence is a dead connection that nobody closed.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        idle_seconds: float = 150.0,
        connect_seconds: float = 10.0,
    ) -> None:
        import aiohttp

        self._credentials = credentials
        self._idle_seconds = idle_seconds
        self._connect_seconds = connect_seconds
        self._failures = (aiohttp.ClientError, OSError, TimeoutError)
        self._timeout = aiohttp.ClientTimeout
        self._session = aiohttp.ClientSession(
            # Watches hold a connection each and are as many as there are kinds.
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=_READ,
            # Packing a list is dear to the API server, and unpacking it to us: networks are not.
            headers={
                "accept": "application/json",
                "accept-encoding": "identity",
                "user-agent": "istiod-lite",
            },
        )

    @property
    def url(self) -> str:
        """Return where the API server is."""
        return self._credentials.host

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 10.0,  # noqa: ASYNC109 - the HTTP library enforces it
    ) -> Answer:
        """Return the answer, whatever its status; raises ClusterUnavailableError."""
        with self._unavailable():
            headers = await self._credentials.headers()
            if body is not None:
                headers["content-type"] = content_type
            async with self._session.request(
                method,
                self._credentials.host + path,
                params=params,
                data=body,
                headers=headers,
                timeout=self._timeout(total=timeout),
                ssl=self._credentials.trust,
                **self._credentials.way,
            ) as answer:
                self._judge(answer.status)
                return Answer(answer.status, await answer.read(), _retry_after(answer))

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch; see ``ClusterClient``."""
        timeout = self._timeout(
            total=None, sock_connect=self._connect_seconds, sock_read=self._idle_seconds
        )
        with self._unavailable():
            headers = await self._credentials.headers()
            async with self._session.get(
                self._credentials.host + path,
                params=params,
                headers=headers,
                timeout=timeout,
                ssl=self._credentials.trust,
                **self._credentials.way,
            ) as answer:
                if answer.status != 200:
                    self._judge(answer.status)
                    await answer.content.read(_LONGEST_REFUSAL)
                    raise ClusterRefusedError(answer.status, retry_after=_retry_after(answer))
                yield b""
                async for line in _lines(answer):
                    yield line

    def _judge(self, status: int) -> None:
        if status == _UNKNOWN:
            self._credentials.doubted()

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        """Raise what the HTTP library raises as ClusterUnavailableError.

        From None: an error of the library carries the request, and with it the token.
        """
        try:
            yield
        except self._failures as error:
            raise ClusterUnavailableError(_sentence(error)) from None


async def open_cluster(
    location: ClusterLocation, *, idle_seconds: float = 150.0, clock: Clock | None = None
) -> ApiServer:
    """Return a client of the cluster at ``location``, not connected yet; close it in the end.

    Raises:
        ClusterConfigurationError: the configuration is missing or unusable.
    """
    configuration = await _configuration(location)
    try:
        credentials = Credentials(
            configuration,
            clock=clock or SystemClock(),
            read=lambda: _configuration(location),
            files=(_token_file(),) if location.is_in_pod else location.files(),
        )
    except (OSError, ValueError) as error:
        raise _unusable(error) from None
    return ApiServer(credentials, idle_seconds=idle_seconds)


async def _configuration(location: ClusterLocation) -> Any:
    """Return what the files at ``location`` say now; raises ClusterConfigurationError."""
    import yaml
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    package: Any = config  # it declares no types
    configuration = Configuration()
    try:
        if location.is_in_pod:
            package.load_incluster_config(configuration, try_refresh_token=False)
        else:
            files = os.pathsep.join(str(path) for path in location.files())
            await package.load_kube_config(
                files, location.context, configuration, persist_config=False
            )
    except config.ConfigException as error:
        raise ClusterConfigurationError(str(error)) from None
    # The package raises whatever its parsers raise for a file that is not what it should be, and
    # those quote what they read: only the sort of the error is told, the file may hold a token.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise _unusable(error) from None
    return configuration


def _unusable(error: BaseException) -> ClusterConfigurationError:
    return ClusterConfigurationError(f"the configuration is unusable: {type(error).__name__}")


def _token_file() -> Path:
    from kubernetes.aio.config import incluster_config

    return Path(incluster_config.SERVICE_TOKEN_FILENAME)


def _retry_after(answer: "aiohttp.ClientResponse") -> float:
    """Return the seconds that the API server asks us to wait, 0.0 where it does not say."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdigit() else 0.0


async def _lines(answer: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    """Yield the lines of a body; what follows the last line end is no line."""
    rest: list[bytes] = []
    held = 0
    async for piece in answer.content.iter_any():
        if b"\n" not in piece:
            rest.append(piece)
            held += len(piece)
            if held > _LONGEST_LINE:
                raise ClusterUnavailableError("a line of the watch is too long")
            continue
        *whole, tail = b"".join((*rest, piece)).split(b"\n")
        rest, held = [tail], len(tail)
        for line in whole:
            if line:
                yield line


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return type(error).__name__
