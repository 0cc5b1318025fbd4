"""The double of the API server on a thread of its own, for commands that run their own loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put_document
from tests.support.kubernetes_objects import Json, custom_definitions


@dataclass
class ThreadedApi:
    """``api`` runs on ``loop``; tests change its objects with ``do``."""

    api: KubernetesApi
    loop: asyncio.AbstractEventLoop

    def do(self, act: Callable[[], object]) -> None:
        """Run a function where the double runs, and wait for it."""

        async def run() -> None:
            act()

        self.wait(run())

    def put(self, document: Json) -> None:
        self.do(lambda: put_document(self.api.objects, document))

    def wait(self, running: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(running, self.loop).result()


@contextmanager
def api_on_a_thread() -> Iterator[ThreadedApi]:
    """Yield the double, started, with the kinds that the mesh reads."""
    threaded = ThreadedApi(KubernetesApi(), asyncio.new_event_loop())
    thread = threading.Thread(target=threaded.loop.run_forever)
    thread.start()
    try:
        threaded.wait(threaded.api.start())
        for definition in custom_definitions():
            threaded.put(definition)
        yield threaded
    finally:
        threaded.wait(threaded.api.stop())
        threaded.loop.call_soon_threadsafe(threaded.loop.stop)
        thread.join()
        threaded.loop.close()


def a_kubeconfig(path: Path, url: str, *, namespace: str = "") -> Path:
    """Write a kubeconfig with the contexts ``here`` (current) and ``elsewhere``."""
    home = f", namespace: {namespace}" if namespace else ""
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: here
contexts:
- {{name: here, context: {{cluster: c, user: u{home}}}}}
- {{name: elsewhere, context: {{cluster: c, user: u, namespace: other}}}}
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{}}}}]
"""
    )
    return path
