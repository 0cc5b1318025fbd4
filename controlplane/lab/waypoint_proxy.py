"""A waypoint's pod on this machine: a control plane and a pod come in, a real Envoy goes out.

The bootstrap is the one that the waypoint controller writes, with the places where things are on
this machine; who the pod is says a token, as in a cluster.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from controlplane.encode.bootstrap import BOOTSTRAP_FILE, Bootstrap, bootstrap_files
from controlplane.lab.envoy import Envoy, EnvoyOptions
from controlplane.lab.envoy_errors import EnvoyError
from controlplane.lab.errors import LabError
from controlplane.lab.ztunnel.client import Target
from controlplane.model.names import Name
from controlplane.model.resident import Resident

_ROOT: Final = "root-cert.pem"
_TOKEN: Final = "istio-token"  # noqa: S105 - the name of a file
_LOOK_SECONDS: Final = 0.2
_TOKEN_LOOKS: Final = 3000
"""A token is renewed after so many looks, ten minutes."""


class WaypointProxy:
    """One pod of a waypoint; use it as ``async with WaypointProxy(...) as proxy``.

    As a kubelet does, it starts an Envoy again that ends by itself, and renews the token;
    ``trouble`` is why the last start failed.

    Args:
        pod: the pod, one of a Gateway.
        address: its address, on loopback.
        target: where discovery is and what verifies it; its ``server_name`` is a name of that.
        token: returns a token of the pod, whenever a new one is to be written.
        directory: an existing folder of this pod alone.
        options: how to run the Envoy.
    """

    def __init__(
        self,
        pod: Resident,
        *,
        address: str,
        target: Target,
        token: Callable[[], str],
        directory: Path,
        options: EnvoyOptions | None = None,
    ) -> None:
        if not pod.gateway:
            raise LabError(f"{pod.key} is no pod of a Gateway")
        self.pod = pod
        self.address = address
        self.trouble = ""
        self._keeping: asyncio.Task[None] | None = None
        self._target = target
        self._token = token
        self._directory = directory
        options = options or EnvoyOptions()
        node_id = f"waypoint~{address}~{pod.name}.{pod.namespace}~{pod.namespace}.svc.cluster.local"
        self.envoy = Envoy(
            self._bootstrap(),
            directory,
            EnvoyOptions(
                workers=options.workers,
                arguments=(
                    *("--service-node", node_id),
                    *("--service-cluster", f"{pod.service_account}.{pod.namespace}"),
                    *options.arguments,
                ),
                binary=options.binary,
                patience=options.patience,
                waits_until_ready=options.waits_until_ready,
            ),
        )

    @property
    def gateway(self) -> Name:
        """Return the waypoint that it is a pod of."""
        return Name(self.pod.namespace, self.pod.gateway)

    async def __aenter__(self) -> Self:
        await self.envoy.start()
        self._keeping = asyncio.create_task(self._keep(), name=f"pod {self.pod.key}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self.envoy.stop()
        with suppress(OSError):
            (self._directory / "token" / _TOKEN).unlink()

    def renew_token(self) -> None:
        """Write a new token, as kubelet does: by a rename that whoever watches the folder sees."""
        place = self._directory / "token"
        fresh = place / f".{_TOKEN}.new"
        fresh.touch(mode=0o600)
        fresh.write_text(self._token())
        fresh.replace(place / _TOKEN)

    async def _keep(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            if looks % _TOKEN_LOOKS == 0:
                self.renew_token()
            if self.envoy.has_ended or self.trouble:
                try:
                    await self.envoy.restart()
                except EnvoyError as error:
                    self.trouble = str(error)
                else:
                    self.trouble = ""

    def _bootstrap(self) -> dict[str, object]:
        files, roots, tokens = (self._directory / name for name in ("files", "root", "token"))
        for folder in (files, roots, tokens):
            folder.mkdir(exist_ok=True)
        (roots / _ROOT).write_bytes(self._target.root_certificates or b"")
        self.renew_token()
        host, _, port = self._target.address.rpartition(":")
        texts = bootstrap_files(
            Bootstrap(
                gateway=self.gateway,
                workload=self.pod.gateway,
                service_account=self.pod.service_account,
                discovery_host=self._target.server_name or host,
                discovery_address=host,
                discovery_port=int(port),
                cluster_id=self._target.cluster_id,
                listen_address=self.address,
                admin_address=self.address,
                directory=str(files),
                root_directory=str(roots),
                token_directory=str(tokens),
            )
        )
        for name, text in texts.items():
            (files / name).write_text(text)
        document: dict[str, object] = json.loads(texts[BOOTSTRAP_FILE])
        return document
