"""A real Envoy on this machine: a bootstrap comes in, a process that is ready goes out.

Ports may be 0: Envoy takes free ones and ``address`` says which. The admin side is put on loopback
unless the bootstrap says where it is. No Envoy outlives the process that started it.
"""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from controlplane.lab.envoy_binary import envoy_path
from controlplane.lab.envoy_errors import EnvoyError
from controlplane.lab.envoy_process import end, launch

_MOST_LINES: Final = 5000
_SHOWN_LINES: Final = 15
_PAUSE: Final = 0.02
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How to run an Envoy.

    ``workers`` are threads that serve; each has connection pools of its own. ``arguments`` are
    more of the command line, such as ``--service-node``. ``binary`` is the program, by default the
    one that is found. ``patience`` is how many seconds it has to be ready, and to end. With
    ``waits_until_ready`` False a start is over as soon as the admin side answers.
    """

    workers: int = 1
    arguments: tuple[str, ...] = ()
    binary: Path | None = None
    patience: float = 15.0
    waits_until_ready: bool = True


class Envoy:
    """One Envoy, again and again; use it as ``async with Envoy(...) as envoy``.

    Args:
        bootstrap: the whole bootstrap, as JSON has it.
        directory: an existing folder for its files, of this Envoy alone.
        options: how to run it.
    """

    def __init__(
        self,
        bootstrap: Mapping[str, Any],
        directory: Path,
        options: EnvoyOptions | None = None,
    ) -> None:
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)
        self.bootstrap: dict[str, Any] = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            **bootstrap,
        }
        self._directory = directory
        self._options = options or EnvoyOptions()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._admin: httpx.AsyncClient | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the process, None where there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    @property
    def has_ended(self) -> bool:
        """Return whether it was started, and ended without being stopped."""
        return self._process is not None and self._process.returncode is not None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            EnvoyError: it is not there, ends, or is not ready in time.
        """
        config = self._directory / "bootstrap.json"
        config.write_text(json.dumps(self.bootstrap, indent=2))
        admin = self._directory / "admin-address"
        admin.unlink(missing_ok=True)
        try:
            self._process = await launch(
                envoy_path(self._options.binary),
                *("--config-path", str(config), "--admin-address-path", str(admin)),
                *("--disable-hot-restart", "--concurrency", str(self._options.workers)),
                *("--log-level", "warning", *self._options.arguments),
            )
        except OSError as error:
            raise EnvoyError(f"Envoy does not run here: {error}") from error
        self._reader = asyncio.create_task(self._read(self._process), name="envoy log")
        try:
            async with asyncio.timeout(self._options.patience):
                await self._connect(admin)
                while self._options.waits_until_ready and not await self.is_ready():
                    self._check()
                    await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            await self.stop()
            raise EnvoyError(self._said("Envoy is not ready in time")) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> int:
        """End it if it runs; return its exit status."""
        process, self._process = self._process, None
        if self._admin is not None:
            await self._admin.aclose()
            self._admin = None
        status = 0
        if process is not None:
            status = await end(process, patience=self._options.patience)
        if self._reader is not None:
            await self._reader
            self._reader = None
        return status

    async def restart(self) -> None:
        """End it and start it with the same files; ports that were 0 may be others.

        Raises:
            EnvoyError: as ``start`` does.
        """
        await self.stop()
        await self.start()

    async def is_ready(self) -> bool:
        """Return whether it has its whole configuration and serves."""
        try:
            return (await self._client().get("/ready")).status_code == _OK
        except httpx.HTTPError:
            return False

    async def admin(self, path: str, *, method: str = "GET") -> str:
        """Return what the admin side answers.

        Raises:
            EnvoyError: it does not answer, or not with 200.
        """
        try:
            answer = await self._client().request(method, path)
        except httpx.HTTPError as error:
            raise EnvoyError(self._said(f"{path}: {error!r}")) from error
        if answer.status_code != _OK:
            raise EnvoyError(f"{path} is answered {answer.status_code}: {answer.text}")
        return answer.text

    async def config_dump(self) -> list[Mapping[str, Any]]:
        """Return the configuration it has, endpoints included, section by section."""
        dump = json.loads(await self.admin("/config_dump?include_eds"))
        sections: list[Mapping[str, Any]] = dump["configs"]
        return sections

    async def clusters(self) -> Mapping[str, Any]:
        """Return the status of every cluster by its name."""
        statuses = json.loads(await self.admin("/clusters?format=json"))
        return {each["name"]: each for each in statuses.get("cluster_statuses", ())}

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Return counters and gauges by name, those that match the regular expression."""
        answer = await self._client().get("/stats", params={"format": "json", "filter": pattern})
        found = json.loads(answer.text)["stats"]
        return {each["name"]: each["value"] for each in found if isinstance(each.get("value"), int)}

    async def address(self, listener: str) -> tuple[str, int]:
        """Return where a listener listens.

        Raises:
            EnvoyError: there is no such listener, or not on a port.
        """
        listing = json.loads(await self.admin("/listeners?format=json"))
        for each in listing.get("listener_statuses", ()):
            socket = each.get("local_address", {}).get("socket_address")
            if each["name"] == listener and socket:
                return str(socket["address"]), int(socket["port_value"])
        raise EnvoyError(f"there is no listener {listener} on a port")

    async def _connect(self, admin: Path) -> None:
        """Wait for the file that says where the admin side is."""
        while not (address := _text(admin)):
            self._check()
            await asyncio.sleep(_PAUSE)
        # No TLS on loopback, so no roots: reading those of the machine takes longer than asking.
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._admin = httpx.AsyncClient(
            base_url=f"http://{address}", verify=plain, trust_env=False, timeout=5.0
        )

    def _client(self) -> httpx.AsyncClient:
        if self._admin is None:
            raise EnvoyError("Envoy does not run")
        return self._admin

    def _check(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise EnvoyError(self._said("Envoy ended by itself"))

    def _said(self, sentence: str) -> str:
        return "\n".join([sentence, *list(self.lines)[-_SHOWN_LINES:]])

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while True:
            with suppress(ValueError):  # A line beyond the reader's limit: it goes on after it.
                line = await process.stdout.readline()
                if not line:
                    return
                self.lines.append(line.decode(errors="replace").rstrip())


def _text(path: Path) -> str:
    """Return what the file says, nothing where there is none yet."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
