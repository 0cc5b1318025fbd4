"""The bookinfo mesh served by a whole process, with clients on its nodes; and pages watched."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, ConsoleMessage, Page, Response

from controlplane.app.process import Process
from controlplane.lab.ztunnel.client import Target, ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.settings import Settings

BOOKINFO = Path(__file__).parents[3] / "examples" / "bookinfo"
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass
class Site:
    """A process and the folder it watches."""

    process: Process
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.process.admin_port}"

    @property
    def discovery(self) -> Target:
        return Target(address=f"127.0.0.1:{self.process.plaintext_port}")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@dataclass
class Watched:
    """A page, and everything that went wrong on it."""

    page: Page
    site: Site
    troubles: list[str] = field(default_factory=list)

    async def open(self, path: str, *, status: int = 200) -> None:
        response = await self.page.goto(f"{self.site.address}{path}", wait_until="load")
        assert response is not None
        assert response.status == status, path

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{self.page.url}: {message.text}")

    def answered(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.url}: {response.status}")


@asynccontextmanager
async def running(
    folder: Path, *, nodes: tuple[str, ...] = ("node-1", "node-2")
) -> AsyncIterator[Site]:
    """Serve a copy of bookinfo with a client on each of ``nodes`` and one with a hostile name."""
    shutil.copytree(BOOKINFO, folder / "mesh")
    settings = Settings(
        files=folder / "mesh",
        data_dir=folder / "data",
        xds_port=0,
        admin_port=0,
        plaintext=True,
        plaintext_port=0,
    )
    process = Process(settings)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        site = Site(process, folder / "mesh")
        try:
            async with AsyncExitStack() as clients:
                for number, node in enumerate((*nodes, "")):
                    identity = NodeIdentity(
                        pod_name=f"ztunnel-{number}" if node else HOSTILE,
                        node_name=node,
                        metadata=(("ISTIO_VERSION", "1.30.0"), ("CLUSTER_ID", "Kubernetes")),
                    )
                    client = ZtunnelClient(site.discovery, Session(identity))
                    await clients.enter_async_context(client)
                    await client.wait_for(lambda each: bool(each.state.services))
                yield site
        finally:
            process.stop()


@asynccontextmanager
async def watched(
    browser: Browser, site: Site, *, width: int = 1280, height: int = 860, scheme: str = "light"
) -> AsyncIterator[Watched]:
    """Open a page of which everything that goes wrong is noted."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = await context.new_page()
    found = Watched(page, site)
    page.on("console", found.heard)
    page.on("pageerror", lambda error: found.troubles.append(str(error)))
    page.on("response", found.answered)
    page.on("dialog", lambda dialog: found.troubles.append(f"dialog {dialog.message}"))
    yield found
    await context.close()
