"""The map of two hundred services, measured in a browser."""

from itertools import combinations
from pathlib import Path

import pytest
from playwright.async_api import Browser

from controlplane.admin.page.map_values import Rectangle
from tests.e2e.page.site import Site, watched

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TEAMS = ("payments", "checkout", "search", "media", "platform-observability-and-tracing", "edge")
SERVICES = 200
MEASURE = """
() => {
  const place = (each) => {
    const { x, y, width, height } = each.getBoundingClientRect();
    return [x, y, width, height];
  };
  const all = (what) => [...document.querySelectorAll(what)];
  return {
    boxes: all("[data-map] .box > rect:first-of-type").map(place),
    groups: all("[data-map] .group > rect").map(place),
    texts: all("[data-map] text").map(place),
    boxed: all("[data-map] .box").map((box) => ({
      place: place(box.querySelector("rect")),
      texts: [...box.querySelectorAll("text")].map(place),
    })),
    small: all("[data-map] text").filter((each) => each.getBoundingClientRect().height < 10).length,
  };
}
"""


def _manifests() -> str:
    documents = [
        f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {team}, labels: {{istio.io/dataplane-mode: ambient}}}}
"""
        for team in TEAMS
    ]
    for number in range(SERVICES):
        team = TEAMS[number * number % len(TEAMS)]
        name = f"wwwwwmmmmm-{'service-' * (number % 5)}{number}"
        caller = f"cluster.local/ns/{TEAMS[number % len(TEAMS)]}/sa/sa-{number * 7 % SERVICES}"
        documents.append(
            f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {team}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {team}, labels: {{app: {name}}}}}
spec: {{serviceAccountName: sa-{number}, nodeName: node-1, containers: [{{name: c, image: i}}]}}
status: {{phase: Running, podIP: 10.9.0.{number}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: callers-of-{number}, namespace: {team}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  action: ALLOW
  rules:
    - from: [{{source: {{principals: ["{caller}"]}}}}]
"""
        )
    return "---\n".join(documents)


async def test_two_hundred_services_do_not_overlap(
    browser: Browser, site: Site, screenshots: Path
) -> None:
    site.write("80-many.yaml", _manifests())
    async with watched(browser, site) as it:
        await it.open("/map")
        boxes = it.page.locator("[data-map] .box.service")
        await it.page.wait_for_function(
            f"document.querySelectorAll('[data-map] .box.service').length >= {SERVICES - 8}",
            timeout=30_000,
        )
        assert await boxes.count() >= SERVICES - 8
        assert await it.page.locator("[data-map] path.flow").count() > SERVICES / 2
        found = await it.page.evaluate(MEASURE)
        for kind in ("boxes", "groups", "texts"):
            places = [Rectangle(*each) for each in found[kind]]
            assert not [pair for pair in combinations(places, 2) if pair[0].overlaps(pair[1])], kind
        for box in found["boxed"]:
            place = Rectangle(*box["place"])
            assert all(place.holds(Rectangle(*text)) for text in box["texts"]), box
        assert found["small"] == 0
        await it.page.screenshot(path=screenshots / "map-many.png")
        await it.page.locator("[data-map] a.box.service").nth(30).hover()
        await it.page.screenshot(path=screenshots / "map-many-hover.png")
        assert it.troubles == []
