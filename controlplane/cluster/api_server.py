"""The real API server: where it is and who we are comes from the environment, answers go out.

The ``kubernetes`` package reads the configuration (kubeconfig or the files of a pod) and refreshes
credentials; requests go over its HTTP library without its models, so that answers stay bytes.
Both are imported only when a cluster is opened: a process without one never pays for them.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controlplane.cluster.client import Answer
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

    ``configuration`` is the kubernetes package's, already filled. ``idle_seconds`` is how long a
    watch may be silent: bookmarks come about once a minute, so a longer silence is a dead
    connection that nobody closed.
    """

    def __init__(
        self, configuration: Any, *, idle_seconds: float = 150.0, connect_seconds: float = 10.0
    ) -> None:
        import aiohttp
        from kubernetes.aio.client.rest import RESTClientObject
        from kubernetes.aio.config import ConfigException

        self._configuration = configuration
        self._host = str(configuration.host).rstrip("/")
        self._idle_seconds = idle_seconds
        self._connect_seconds = connect_seconds
        # The configuration is read again when credentials are refreshed.
        self._failures = (aiohttp.ClientError, OSError, TimeoutError, ConfigException)
        self._timeout = aiohttp.ClientTimeout
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # Watches hold a connection each and are as many as there are kinds.
                limit=0,
                ssl=RESTClientObject(configuration).ssl_context,
            ),
            read_bufsize=_READ,
            headers={"accept": "application/json", "user-agent": "istiod-lite"},
        )

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
            headers = await self._credentials()
            if body is not None:
                headers["content-type"] = content_type
            async with self._session.request(
                method,
                self._host + path,
                params=params,
                data=body,
                headers=headers,
                timeout=self._timeout(total=timeout),
                **self._way(),
            ) as answer:
                return Answer(answer.status, await answer.read())

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a watch; see ``ClusterClient``."""
        timeout = self._timeout(
            total=None, sock_connect=self._connect_seconds, sock_read=self._idle_seconds
        )
        with self._unavailable():
            async with self._session.get(
                self._host + path,
                params=params,
                headers=await self._credentials(),
                timeout=timeout,
                **self._way(),
            ) as answer:
                if answer.status != 200:
                    await answer.content.read(_LONGEST_REFUSAL)
                    raise ClusterRefusedError(answer.status)
                yield b""
                async for line in _lines(answer):
                    yield line

    async def _credentials(self) -> dict[str, str]:
        """Return the headers that say who we are, refreshed where they are about to expire."""
        configuration = self._configuration
        token = await configuration.get_api_key_with_prefix("BearerToken")
        if token:
            return {"authorization": token}
        if configuration.username:
            return {"authorization": configuration.get_basic_auth_token()}
        return {}

    def _way(self) -> dict[str, Any]:
        way: dict[str, Any] = {}
        if self._configuration.proxy:
            way["proxy"] = self._configuration.proxy
        if self._configuration.tls_server_name:
            way["server_hostname"] = self._configuration.tls_server_name
        return way

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        """Raise what the HTTP library raises as ClusterUnavailableError.

        From None: an error of the library carries the request, and with it the token.
        """
        try:
            yield
        except self._failures as error:
            raise ClusterUnavailableError(_sentence(error)) from None


async def open_cluster(location: ClusterLocation, *, idle_seconds: float = 150.0) -> ApiServer:
    """Return a client of the cluster at ``location``, not connected yet; close it in the end.

    Raises:
        ClusterConfigurationError: the configuration is missing or unusable.
    """
    import yaml
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    package: Any = config  # it declares no types
    configuration = Configuration()
    try:
        if location.is_in_pod:
            package.load_incluster_config(configuration)
        else:
            files = os.pathsep.join(str(path) for path in location.files())
            loader = await package.load_kube_config(
                files, location.context, configuration, persist_config=False
            )
            configuration.refresh_api_key_hook = _refreshing(loader)
        return ApiServer(configuration, idle_seconds=idle_seconds)
    except config.ConfigException as error:
        raise ClusterConfigurationError(str(error)) from None
    # The package raises whatever its parsers raise for a file that is not what it should be, and
    # those quote what they read: only the sort of the error is told, the file may hold a token.
    except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise ClusterConfigurationError(
            f"the configuration is unusable: {type(error).__name__}"
        ) from None


def _refreshing(loader: Any) -> Any:
    """Return what renews the token of a kubeconfig: its file or its plugin is asked again.

    At most once a minute, because a plugin is a program that is started for it.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + _REFRESH_SECONDS

    async def refresh(configuration: Any) -> None:
        nonlocal due
        if loop.time() < due:
            return
        due = loop.time() + _REFRESH_SECONDS
        await loader.load_and_set(configuration)

    return refresh


_REFRESH_SECONDS: Final = 60.0


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
