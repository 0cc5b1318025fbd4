"""Every view in a browser: nothing goes wrong, everybody can use it, on a phone as well."""

import asyncio
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from envoy.service.discovery.v3 import discovery_pb2
from playwright.async_api import Browser, Page

from controlplane.lab.ztunnel.client import ZtunnelClient
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from tests.e2e.page.site import HOSTILE, Site, watched

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

VIEWS = {
    "overview": "/",
    "map": "/map",
    "nodes": "/nodes",
    "node": "/nodes/node-1",
    "clients": "/connections",
    "workloads": "/workloads",
    "services": "/services",
    "service": "/services/bookinfo/reviews.bookinfo.svc.cluster.local",
    "policies": "/policies",
    "policy": "/policies/bookinfo/productpage-callers",
    "waypoints": "/waypoints",
    "waypoint": "/waypoints/bookinfo/waypoint",
    "certificates": "/certificates",
    "changes": "/changes",
    "change": "/changes/1",
    "problems": "/problems",
}
BROKEN = """\
apiVersion: v1
kind: Service
metadata: {name: "<script>alert(1)</script>", namespace: bookinfo}
spec: {ports: [{port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-http, namespace: bookinfo}
spec: {action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}
"""


async def _uid_and_client(site: Site) -> tuple[str, int]:
    async with httpx.AsyncClient(base_url=f"{site.address}/api/v1") as client:
        workloads = (await client.get("/workloads?name=productpage")).json()["items"]
        connections = (await client.get("/connections?node=node-1")).json()["items"]
    return workloads[0]["uid"], connections[0]["number"]


async def _violations(page: Page) -> list[str]:
    """Return what an accessibility checker finds serious or worse."""
    results = await Axe().run(page)
    assert results.response["passes"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in results.response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


async def _views(site: Site) -> dict[str, str]:
    uid, number = await _uid_and_client(site)
    replica = site.process.settings.replica_id
    return {
        **VIEWS,
        "workload": f"/workloads/{uid}",
        "client": f"/connections/{replica}/{number}",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_view_opens_and_everybody_can_use_it(
    browser: Browser, site: Site, screenshots: Path, scheme: str
) -> None:
    async with watched(browser, site, scheme=scheme) as it:
        for name, path in (await _views(site)).items():
            await it.open(path)
            assert await it.page.locator("h1").count() == 1, path
            await it.page.screenshot(path=screenshots / f"{name}-{scheme}.png", full_page=True)
            assert await _violations(it.page) == [], path
            assert await it.page.locator("a.api").count() > 0, path
        assert it.troubles == []


async def test_nothing_scrolls_sideways_on_a_phone(
    browser: Browser, site: Site, screenshots: Path
) -> None:
    site.write("90-broken.yaml", BROKEN)
    async with watched(browser, site, width=390, height=800) as it:
        for name, path in (await _views(site)).items():
            await it.open(path)
            await it.page.screenshot(path=screenshots / f"{name}-phone.png", full_page=True)
            widest = await it.page.evaluate(
                "Math.max(document.documentElement.scrollWidth,"
                " ...[...document.querySelectorAll('main *:not(.hidden)')]"
                ".filter(each => getComputedStyle(each).position !== 'absolute')"
                ".map(each => each.getBoundingClientRect().right))"
            )
            assert widest <= 390.5, (path, widest)
        assert it.troubles == []


async def test_hostile_names_are_only_text(browser: Browser, site: Site, screenshots: Path) -> None:
    site.write("90-broken.yaml", BROKEN)
    async with watched(browser, site) as it:
        await it.open("/connections")
        await it.page.get_by_role("link", name=HOSTILE).click()
        await it.page.get_by_role("heading", level=1).get_by_text(HOSTILE).wait_for()
        await it.open("/problems")
        await it.page.get_by_text("only-http").first.wait_for()
        await it.page.screenshot(path=screenshots / "problems-some.png", full_page=True)
        assert await it.page.locator("main img, main script").count() == 0
        assert it.troubles == []


async def test_live_parts_change_when_a_manifest_does(browser: Browser, site: Site) -> None:
    async with watched(browser, site) as services, watched(browser, site) as overview:
        await services.open("/services")
        await overview.open("/")
        for it in (services, overview):
            await it.page.locator(".live.on").wait_for(timeout=10_000)
        before = await overview.page.locator("#changes .timeline li").count()
        site.write("95-billing.yaml", _a_service("billing"))
        await services.page.get_by_role("link", name="billing").wait_for(timeout=10_000)
        await overview.page.wait_for_function(
            "count => document.querySelectorAll('#changes .timeline li').length > count",
            arg=before,
            timeout=10_000,
        )
        assert services.troubles == overview.troubles == []


class Refusing(Session):
    """A node proxy that refuses whatever it is sent, in words of its own."""

    def receive(self, data: bytes) -> bytes:
        request = discovery_pb2.DeltaDiscoveryRequest.FromString(super().receive(data))
        request.error_detail.message = "no <b>room</b> for this"
        return bytes(request.SerializeToString())


async def test_a_client_that_refuses_is_the_first_thing_told(
    browser: Browser, site: Site, screenshots: Path
) -> None:
    async with watched(browser, site) as it:
        await it.open("/")
        await it.page.get_by_role("heading", name="Everything is in order").wait_for()
        await it.page.locator(".live.on").wait_for(timeout=10_000)
        node = NodeIdentity(pod_name="ztunnel-x", node_name="node-2")
        async with ZtunnelClient(site.discovery, Refusing(node)):
            concern = it.page.locator("#health").get_by_role("link", name="1 client refuses")
            await concern.wait_for(timeout=5_000)
            await it.page.screenshot(path=screenshots / "overview-refused.png", full_page=True)
            await concern.click()
            await it.page.get_by_role("link", name="ztunnel-x.istio-system").click()
            await it.page.get_by_text("no <b>room</b> for this").first.wait_for()
            await it.page.screenshot(path=screenshots / "client-refused.png", full_page=True)
            assert await _violations(it.page) == []
        assert it.troubles == []


async def test_keys_are_enough(browser: Browser, site: Site) -> None:
    async with watched(browser, site) as it:
        await it.open("/map")
        await it.page.keyboard.press("Tab")
        focused = it.page.locator(":focus")
        assert await focused.inner_text() == "Skip to content"
        await it.page.keyboard.press("Enter")
        assert await it.page.evaluate("document.activeElement.id") == "content"
        box = it.page.locator("a.box", has_text="productpage")
        await box.focus()
        await it.page.locator("path.flow.mine").wait_for(state="attached")
        await it.page.keyboard.press("Enter")
        await it.page.wait_for_url("**/services/bookinfo/productpage.*")
        assert it.troubles == []


async def test_pages_say_so_when_the_process_is_gone(browser: Browser, site: Site) -> None:
    async with watched(browser, site) as it:
        await it.open("/")
        await it.page.locator(".live.on").wait_for(timeout=10_000)
        began = asyncio.get_running_loop().time()
        site.process.stop()
        await it.page.get_by_text("not live").wait_for(timeout=10_000)
        assert asyncio.get_running_loop().time() - began < 10


def _a_service(name: str) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: bookinfo}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"""
