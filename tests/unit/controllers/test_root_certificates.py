import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.controllers.root_certificates import RootCertificates, RootPace, Roots
from controlplane.model.certificate import BundleTarget
from controlplane.store.errors import DatabaseError
from tests.support.cluster_memory import ClusterMemory, a_refusal
from tests.support.cluster_time import PassingClock, settled

ROOTS = Roots(pem="-----BEGIN CERTIFICATE-----\n", version=3)


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert"


@dataclass
class Lead:
    seconds_left: float = 8.0


@dataclass
class Reported:
    places: dict[str, BundleTarget] = field(default_factory=dict)
    is_away: bool = False
    reports: int = 0

    async def targets(self) -> tuple[BundleTarget, ...]:
        self._require()
        return tuple(self.places.values())

    async def report_target(self, report: BundleTarget) -> None:
        self._require()
        self.reports += 1
        self.places[report.name] = report

    async def forget_target(self, *, cluster: str, kind: str, name: str) -> None:
        self._require()
        self.places.pop(name, None)

    def _require(self) -> None:
        if self.is_away:
            raise DatabaseError("away")


@dataclass
class Mesh:
    namespaces: set[str] = field(default_factory=lambda: {"shop", "kube-system"})
    roots: Roots | None = ROOTS
    cluster: ClusterMemory = field(default_factory=ClusterMemory)
    reported: Reported = field(default_factory=Reported)
    lead: Lead = field(default_factory=Lead)
    clock: PassingClock = field(default_factory=PassingClock)

    def __post_init__(self) -> None:
        self.keeper = RootCertificates(
            self.cluster,
            lead=self.lead,
            namespaces=lambda: self.namespaces,
            roots=lambda: self.roots,
            reports=self.reported,
            cluster="Kubernetes",
            clock=self.clock,
            draw=lambda: 0.0,
            # Time passes in every turn here.
            pace=RootPace(resync=1e9),
        )

    @property
    def data(self) -> dict[str, Any]:
        return {
            at.split("/")[4]: found["data"]["root-cert.pem"]
            for at, found in self.cluster.objects.items()
        }

    def versions(self) -> dict[str, int]:
        return {
            name.partition("/")[0]: each.bundle_version_written
            for name, each in self.reported.places.items()
        }

    def event(self, kind: str, namespace: str, **live: Any) -> bytes:
        metadata = {"namespace": namespace, "name": "istio-ca-root-cert"}
        document = {"metadata": metadata, **self.cluster.objects.get(path(namespace), {}), **live}
        return json.dumps({"type": kind, "object": document}).encode()


@pytest.mark.proves("RC-1", "RC-2")
async def test_every_namespace_of_the_mesh_gets_the_roots() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: len(mesh.reported.places) == 2)
        mesh.namespaces.add("late")
        await until(lambda: "late" in mesh.data)
    assert mesh.data == dict.fromkeys(("shop", "kube-system", "late"), ROOTS.pem)
    labels = mesh.cluster.objects[path("shop")]["metadata"]["labels"]
    assert labels == {"istio.io/config": "true"}
    assert {each.params["force"] for each in mesh.cluster.writes} == {"true"}


@pytest.mark.refutes("RC-1")
async def test_some_namespaces_of_kubernetes_get_none() -> None:
    mesh = Mesh(namespaces={"kube-public", "kube-node-lease", "local-path-storage", "shop"})
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: bool(mesh.reported.places))
    assert set(mesh.data) == {"shop"}
    assert mesh.keeper.expected_targets() == {
        ("Kubernetes", "ConfigMap", "shop/istio-ca-root-cert")
    }


@pytest.mark.refutes("RC-2")
async def test_a_follower_or_one_without_roots_writes_nothing() -> None:
    for mesh in (Mesh(lead=Lead(0.0)), Mesh(roots=None)):
        async with settled(mesh.keeper.run()) as until:
            await until(lambda mesh=mesh: len(mesh.clock.slept) > 20)  # type: ignore[misc]
        assert not mesh.cluster.writes
        assert not mesh.reported.places


@pytest.mark.proves("RC-3")
async def test_new_roots_go_everywhere_and_are_reported() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: mesh.versions() == {"shop": 3, "kube-system": 3})
        mesh.roots = Roots(pem=ROOTS.pem * 2, version=4)
        await until(lambda: mesh.versions() == {"shop": 4, "kube-system": 4})
    assert mesh.data["shop"] == ROOTS.pem * 2


@pytest.mark.refutes("RC-3")
async def test_a_new_leader_of_a_settled_mesh_writes_and_reports_nothing() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: len(mesh.reported.places) == 2)
    again = Mesh(cluster=mesh.cluster, reported=mesh.reported)
    writes, reads, reports = len(mesh.cluster.writes), len(mesh.cluster.asked), 2
    async with settled(again.keeper.run()) as until:
        await until(lambda: len(mesh.cluster.asked) >= reads + 3)
        await until(lambda: len(again.clock.slept) > 20)
    assert len(mesh.cluster.writes) == writes
    assert mesh.reported.reports == reports


@pytest.mark.proves("RC-4")
async def test_what_cannot_be_written_is_reported_with_its_reason() -> None:
    mesh = Mesh(namespaces={"shop"})
    mesh.cluster.fail("PATCH", *[a_refusal(403, "Forbidden", message="not you")] * 9)
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: mesh.versions() == {"shop": 0})
        assert mesh.reported.places["shop/istio-ca-root-cert"].error == "forbidden: not you"
        await until(lambda: mesh.keeper.troubles["shop"].is_given_up)


@pytest.mark.refutes("RC-4")
async def test_a_report_that_fails_is_made_later() -> None:
    mesh = Mesh()
    mesh.reported.is_away = True
    with capture_logs() as logs:
        async with settled(mesh.keeper.run()) as until:
            await until(lambda: len(mesh.data) == 2)
            await until(lambda: len(mesh.clock.slept) > 20)
            mesh.reported.is_away = False
            await until(lambda: mesh.versions() == {"shop": 3, "kube-system": 3})
    events = [each["event"] for each in logs]
    assert events.count("root-certificates.unreported") == 1


@pytest.mark.proves("RC-5")
async def test_a_place_that_is_gone_is_waited_for_no_more() -> None:
    mesh = Mesh()
    old = ("left/istio-ca-root-cert", "other/unrelated")
    for name in old:
        mesh.reported.places[name] = BundleTarget(
            cluster="Kubernetes",
            kind="ConfigMap",
            name=name,
            bundle_version_written=1,
            written_at=mesh.clock.now(),
        )
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: set(mesh.versions()) == {"shop", "kube-system", "other"})
        mesh.namespaces.remove("shop")
        await until(lambda: set(mesh.versions()) == {"kube-system", "other"})
        mesh.namespaces.add("ending")
        mesh.cluster.fail("PATCH", a_refusal(403, "Forbidden", "NamespaceTerminating"))
        await until(lambda: len(mesh.keeper.expected_targets()) == 1)
        await until(lambda: set(mesh.versions()) == {"kube-system", "other"})
    assert not mesh.keeper.troubles


@pytest.mark.refutes("RC-5")
def test_a_place_that_was_not_written_yet_is_waited_for() -> None:
    mesh = Mesh()
    assert len(mesh.keeper.expected_targets()) == 2


@pytest.mark.proves("RC-6")
async def test_what_others_change_or_delete_is_put_right() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: len(mesh.reported.places) == 2)
        changed = {**mesh.cluster.objects[path("shop")], "data": {"root-cert.pem": "mine"}}
        mesh.cluster.put(path("shop"), changed)
        mesh.cluster.events.append(mesh.event("MODIFIED", "shop"))
        await until(lambda: mesh.data["shop"] == ROOTS.pem)
        deleted = mesh.event("DELETED", "shop")
        del mesh.cluster.objects[path("shop")]
        mesh.cluster.events.append(deleted)
        await until(lambda: mesh.data.get("shop") == ROOTS.pem)


@pytest.mark.refutes("RC-6")
async def test_what_is_right_or_elsewhere_is_let_be() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: len(mesh.reported.places) == 2)
        asked = len([each for each in mesh.cluster.asked if each.method == "GET"])
        mesh.cluster.events += [
            mesh.event("ADDED", "shop"),
            mesh.event("MODIFIED", "elsewhere", data={}),
            b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}',
        ]
        await until(lambda: not mesh.cluster.events)
        await until(lambda: len(mesh.clock.slept) > 20)
        assert len([each for each in mesh.cluster.asked if each.method == "GET"]) == asked


@pytest.mark.proves("RC-7")
async def test_nobody_is_fought_with_without_end() -> None:
    mesh = Mesh()
    async with settled(mesh.keeper.run()) as until:
        await until(lambda: len(mesh.reported.places) == 2)
        writes = len([each for each in mesh.cluster.asked if each.method == "PATCH"])
        for _ in range(20):
            changed = {**mesh.cluster.objects[path("shop")], "data": {"root-cert.pem": "mine"}}
            mesh.cluster.put(path("shop"), changed)
            turns = len(mesh.clock.slept)
            mesh.keeper.noticed(mesh.event("MODIFIED", "shop"))
            await until(lambda turns=turns: len(mesh.clock.slept) > turns + 20)  # type: ignore[misc]
        assert len([each for each in mesh.cluster.asked if each.method == "PATCH"]) == writes + 5
    assert mesh.data["shop"] == "mine"


@pytest.mark.refutes("RC-7")
async def test_a_broken_watch_is_begun_again() -> None:
    mesh = Mesh()
    assert not mesh.keeper.noticed(b'{"type": "ERROR", "object": {"metadata": {}, "code": 410}}')
    assert not mesh.keeper.noticed(b"{")
    mesh.cluster.stream = _broken  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        async with settled(mesh.keeper.run()) as until:
            await until(lambda: mesh.clock.slept.count(5.0) >= 3)
            await until(lambda: len(mesh.data) == 2)
    events = [each["event"] for each in logs]
    assert events.count("root-certificates.unwatched") == 1


async def _broken(at: str, params: Any) -> Any:
    raise ClusterUnavailableError("broken")
    yield b""
