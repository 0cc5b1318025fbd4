"""Two hundred edits under traffic from node to node: not one connection fails that was allowed."""

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    an_application,
    write,
)
from tests.support.lab_policies import Enforcement, a_policy, operation, principal, source
from tests.support.lab_traffic import traffic

pytestmark = pytest.mark.timeout(120)

EDITS = 200
CALLS = (
    ("sleep", "http://web/"),
    ("sleep", "http://web-admin:81/"),
    ("notsleep", "http://web/"),
    ("buyer", "http://web.shop/"),
)


class Edits:
    """Random changes, none of which may touch any of the calls."""

    def __init__(self, draw: random.Random, folder: Path) -> None:
        self.number = 0
        self._draw = draw
        self._folder = folder
        self._present: set[str] = set()
        self._choices: list[Callable[[], None]] = [
            self._allow,
            self._deny,
            self._dry_run,
            self._everywhere,
            self._peers,
            self._scale,
            self._others,
            self._service,
            self._account,
        ]

    def make(self) -> str:
        """Make the next one; return what it was."""
        self.number += 1
        change = self._draw.choice(self._choices)
        change()
        return f"{self.number} {change.__name__}"

    def _toggle(self, name: str, *documents: Mapping[str, Any]) -> None:
        if name in self._present and self._draw.random() < 0.4:
            self._present.discard(name)
            write(self._folder, f"{name}.yaml")
            return
        self._present.add(name)
        write(self._folder, f"{name}.yaml", *documents)

    def _allow(self) -> None:
        rules = [source(namespaces=["shop", "market"]), operation(ports=[f"{self.number}"])]
        self._draw.shuffle(rules)
        self._toggle("allow", a_policy("ALLOW", *rules, name="allow", app="web"))

    def _deny(self) -> None:
        nobody = source(principals=[principal(f"nobody-{self.number}")])
        self._toggle("deny", a_policy("DENY", nobody, name="deny", app="web"))

    def _dry_run(self) -> None:
        self._toggle("dry", a_policy("DENY", {}, name="dry", app="web", dry_run=True))

    def _everywhere(self) -> None:
        namespace = self._draw.choice(["istio-system", "shop"])
        nobody = source(ipBlocks=[f"10.0.0.{self.number % 256}"])
        policy = a_policy("DENY", nobody, name="everywhere", namespace=namespace)
        self._toggle(f"everywhere-{namespace}", policy)

    def _peers(self) -> None:
        namespace = self._draw.choice(["istio-system", "shop", "market"])
        mode = self._draw.choice(["STRICT", "PERMISSIVE"])
        peers = a_document(
            "PeerAuthentication", "default", namespace, spec={"mtls": {"mode": mode}}
        )
        self._toggle(f"peers-{namespace}", peers)

    def _scale(self) -> None:
        more = an_application("web", version="v2", replicas=self._draw.randint(1, 4))
        self._toggle("scale", *more[1:])

    def _others(self) -> None:
        name = f"other-{self._draw.randrange(3)}"
        replicas = self._draw.randint(1, 2)
        self._toggle(name, *an_application(name, replicas=replicas), a_service(name))

    def _service(self) -> None:
        name = f"alias-{self._draw.randrange(3)}"
        port = self._draw.choice([80, 82])
        self._toggle(name, a_service(name, selector={"app": "web"}, port=port))

    def _account(self) -> None:
        more = an_application("web", version="v3", account=f"web-{self._draw.randrange(2)}")
        self._toggle("account", *more)


async def test_two_hundred_edits_end_no_connection(tmp_path: Path) -> None:
    async with a_lab(
        tmp_path,
        *a_cluster("shop", "market"),
        *an_application("web", replicas=2),
        a_service("web"),
        a_service("web-admin", selector={"app": "web"}, port=81, target=9090),
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
        *an_application("buyer", "market"),
        a_service("buyer", "market"),
    ) as (mesh, folder):
        edits = Edits(random.Random(7), folder)
        kept = await mesh.connect("sleep", "web", 80)
        assert kept.tunnel is not None
        async with traffic(mesh, *CALLS) as seen:
            for _ in range(EDITS):
                seen.around = edits.make()
                await asyncio.sleep(0.05)
            # A change that does order something, so that all before it is known to be in force.
            nobody = a_policy("DENY", {}, name="sentinel", app="sleep")
            await Enforcement(mesh, folder).at_nodes(nobody)
        assert seen.failures == [], seen.failures
        assert seen.requests > EDITS
        assert (await mesh.request("notsleep", "http://sleep/")).status == 0
        # The connection from before all of it was judged again each time, and is there.
        await kept.tunnel.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        assert (await kept.tunnel.read()).startswith(b"HTTP/1.1 200")
        for connection in mesh.process.connections:
            assert {each.last_error for each in connection.types} == {""}
