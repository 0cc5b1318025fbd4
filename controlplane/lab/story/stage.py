"""Where the story plays: a folder of manifests that is edited, and a lab that follows it."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.lab.errors import LabError
from controlplane.lab.examples import example_folder
from controlplane.lab.mesh import Lab
from controlplane.lab.node.access import INBOUND, AccessRecord
from controlplane.lab.requests import Answer
from controlplane.lab.story.sent import Sent
from controlplane.lab.story.told import Told
from controlplane.model.names import Name

NAMESPACE: Final = "bookinfo"
AMBIENT: Final = "istio.io/dataplane-mode"
USE_WAYPOINT: Final = "istio.io/use-waypoint"
_CLUSTER: Final = "00-cluster.yaml"
_PATIENCE: Final = 15.0
_PAUSE: Final = 0.01
_LINE: Final = 72
_MOST_LINES: Final = 16


def prepared(folder: Path) -> Path:
    """Copy the bookshop into ``folder``, before anything of it is labelled for a mesh."""
    shop = example_folder("bookinfo")
    for name in (_CLUSTER, "10-bookshop.yaml", "20-clients.yaml", "meshconfig.yaml"):
        shutil.copy(shop / name, folder / name)
    shutil.copy(example_folder("story") / "01-outside.yaml", folder)
    for name in (_CLUSTER, "10-bookshop.yaml"):
        documents = [each for each in _read(folder / name) if each]
        for document in documents:
            labels = document["metadata"].get("labels", {})
            labels.pop(AMBIENT, None)
            labels.pop(USE_WAYPOINT, None)
        _write(folder / name, documents)
    return folder


class Stage:
    """A lab and its folder; ``sent`` notes what proxies are told."""

    def __init__(self, mesh: Lab, folder: Path) -> None:
        self.mesh = mesh
        self.folder = folder
        self.sent = Sent()
        for node in mesh.nodes.values():
            self.sent.listen_to(node)

    def apply(self, told: Told, file: str, *, instead_of: str = "") -> None:
        """Put one file of the story among the manifests, in the place of another."""
        source = example_folder("story") / file
        told.done.append(f"kubectl apply -f examples/story/{file}")
        told.manifest += _in_short(_read(source))
        fresh = self.folder / f".{file}"
        shutil.copy(source, fresh)
        fresh.replace(self.folder / (instead_of or file))

    def label_namespace(self, key: str, value: str) -> None:
        """Label the bookshop's namespace."""
        documents = _read(self.folder / _CLUSTER)
        for document in documents:
            if (document["kind"], document["metadata"]["name"]) == ("Namespace", NAMESPACE):
                document["metadata"].setdefault("labels", {})[key] = value
        _write(self.folder / _CLUSTER, documents)

    async def ask(self, source: str, url: str, **rest: Any) -> Answer:
        """Send a request in the name of an application."""
        return await self.mesh.request(source, url, **rest)

    async def until(
        self, ask: Callable[[], Awaitable[Answer]], holds: Callable[[Answer], bool]
    ) -> Answer:
        """Ask until the answer is as it has to be, or patience ends; return the last one."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + _PATIENCE
        answer = await ask()
        while not holds(answer) and loop.time() < ends:
            await asyncio.sleep(_PAUSE)
            answer = await ask()
        return answer

    def waypoint_is_used(self) -> bool:
        """Return whether every node knows services that go through a waypoint."""
        return all(
            any(
                service.namespace == NAMESPACE and service.waypoint is not None
                for service in node.state.services.by_key.values()
            )
            for node in self.mesh.nodes.values()
        )

    def is_connected(self) -> bool:
        """Return whether every node proxy and waypoint has a stream to the control plane."""
        wanted = len(self.mesh.nodes) + len(self.mesh.waypoints)
        return len(self.mesh.process.connections) >= wanted

    @property
    def waypoint(self) -> Any:
        """Return the Envoy of the waypoint. Raises LabError when none runs."""
        for proxy in self.mesh.waypoints.values():
            if proxy.gateway == Name(NAMESPACE, "waypoint"):
                return proxy.envoy
        raise LabError("the waypoint does not run")


def inbound(answer: Answer) -> list[AccessRecord]:
    """Return what the receiving side told of a request."""
    return [record for record in answer.records if record.direction == INBOUND]


def _in_short(documents: list[dict[str, Any]]) -> list[str]:
    """Return the lines that matter: what each object is, and its spec."""
    lines: list[str] = []
    for document in documents:
        lines.append(f"{document['kind']} {document['metadata']['name']}")
        spec = yaml.safe_dump(
            document.get("spec", {}), default_flow_style=None, sort_keys=False, width=_LINE
        )
        lines += [f"  {line}" for line in spec.splitlines()]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"… and {len(lines) - _MOST_LINES} lines more"]
    return lines


def _read(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def _write(path: Path, documents: list[dict[str, Any]]) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(yaml.safe_dump_all(documents))
    fresh.replace(path)
