"""Policies in a lab: documents are applied, and the time when all of them are enforced is known.

Each time a policy that concerns nobody is applied with them, in place of the one before. Whoever
lists the new one has every policy that came, and whoever has lost the one before has lost every
policy that went: a commit is sent policies first, then the workloads that list them, then what no
workload lists any more (docs/protocol/discovery.md).
"""

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import a_document, write

TRUST_DOMAIN = "cluster.local"


def principal(account: str, namespace: str = "shop") -> str:
    """Return an account's identity as policies write it."""
    return f"{TRUST_DOMAIN}/ns/{namespace}/sa/{account}"


def spiffe(account: str, namespace: str = "shop") -> str:
    """Return an account's identity as certificates write it."""
    return f"spiffe://{principal(account, namespace)}"


def a_policy(
    action: str,
    *rules: Mapping[str, Any],
    name: str = "policy",
    namespace: str = "shop",
    app: str = "",
    service: str = "",
    dry_run: bool = False,
) -> dict[str, Any]:
    """Return a policy for an application's pods, for a Service at its waypoint or for everybody."""
    spec: dict[str, Any] = {"action": action, "rules": list(rules)}
    if app:
        spec["selector"] = {"matchLabels": {"app": app}}
    if service:
        spec["targetRefs"] = [{"group": "", "kind": "Service", "name": service}]
    annotations = {"istio.io/dry-run": "true"} if dry_run else {}
    return a_document("AuthorizationPolicy", name, namespace, annotations=annotations, spec=spec)


def source(**fields: list[str]) -> dict[str, Any]:
    """Return a rule about who calls."""
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    """Return a rule about what is called."""
    return {"to": [{"operation": fields}]}


class Enforcement:
    """Applies documents to a lab whose server is the application ``app`` of ``shop``."""

    def __init__(self, mesh: Lab, folder: Path, app: str = "web") -> None:
        self.mesh = mesh
        self._folder = folder
        self._app = app
        self._number = 0

    def address(self, name: str) -> IPv4Address | IPv6Address:
        """Return the address of a pod."""
        return self.mesh.workload(name).addresses[0]

    async def at_nodes(self, *documents: Mapping[str, Any]) -> None:
        """Apply documents in place of those before, and wait until node proxies enforce them."""
        before = f"shop/sentinel-{self._number}"
        self._number += 1
        name = f"sentinel-{self._number}"
        nobody = a_policy("DENY", operation(ports=["65000"]), name=name, app=self._app)
        write(self._folder, "policies.yaml", *documents, nobody)

        def is_enforced() -> bool:
            states = [node.state for node in self.mesh.nodes.values()]
            return all(
                f"shop/{name}" in workload.authorization_policies
                for state in states
                for workload in state.workloads.by_uid.values()
                if workload.canonical_name == self._app
            ) and all(before not in state.policies.by_name for state in states)

        await self.mesh.until(is_enforced, f"{name} is enforced and {before} is not")

    async def at_waypoint(self, *documents: Mapping[str, Any]) -> None:
        """Apply documents in place of those before, and wait until the waypoint enforces them.

        The Service ``sentinel`` is told apart from others by a policy of its own. Those before go
        first: one that denies everything would be taken for it.
        """
        write(self._folder, "policies.yaml")
        await self._until_status("http://sentinel/", 200)
        self._number += 1
        path = f"/sentinel-{self._number}"
        nobody = a_policy("DENY", operation(paths=[path]), name="sentinel", service="sentinel")
        write(self._folder, "policies.yaml", *documents, nobody)
        await self._until_status(f"http://sentinel{path}", 403)

    async def _until_status(self, url: str, status: int) -> None:
        async with asyncio.timeout(20):
            while (await self.mesh.request("sleep", url)).status != status:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
