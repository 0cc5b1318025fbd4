"""The Kubernetes source against a double of the API server (docs/protocol/cluster.md)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from controlplane.sources.kubernetes.backoff import Waits
from controlplane.sources.kubernetes.source import KubernetesSource
from controlplane.sources.kubernetes.state import KindState
from tests.conformance.sources.rigs import Running
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import QUICK, client_of, put
from tests.support.kubernetes_objects import DEFINITIONS, a_definition
from tests.support.sources import RecordingSink, pod, policy

POLICIES = "authorizationpolicies"
POLICIES_DEFINITION = ("", f"{POLICIES}.security.istio.io")


class World:
    """A double, a source on it that runs, and what the source told."""

    def __init__(self, api: KubernetesApi, source: KubernetesSource, sink: RecordingSink) -> None:
        self.api = api
        self.source = source
        self.sink = sink

    def put(self, text: str) -> None:
        put(self.api.objects, text)

    def state(self, kind: str) -> KindState:
        (found,) = [each for each in self.source.states if each.kind == kind]
        return found

    async def names(self, *names: str) -> None:
        await self.sink.until(lambda sink: sink.names() == list(names))

    async def codes(self, *codes: str) -> None:
        await self.sink.until(lambda sink: sink.codes() == list(codes))

    async def told(self, kind: str) -> None:
        """Wait until every event so far of ``kind`` has arrived, shown by one more object."""
        text = {"Pod": pod("zz-marker"), "AuthorizationPolicy": policy("zz-marker")}[kind]
        self.put(text)
        await self.sink.until(lambda sink: f"{kind} default/zz-marker" in sink.names())


@asynccontextmanager
async def running(
    *texts: str,
    prepare: Callable[[KubernetesApi], None] = lambda api: api.objects.define_all(),
    is_synced: bool = True,
    settings: Any = QUICK,
    **client_settings: Any,
) -> AsyncIterator[World]:
    sink = RecordingSink()
    async with KubernetesApi() as api, client_of(api, **client_settings) as client:
        prepare(api)
        for text in texts:
            put(api.objects, text)
        source = KubernetesSource(client, settings=settings)
        async with Running(source, sink):
            world = World(api, source, sink)
            if is_synced:
                await sink.until(lambda sink: sink.synced_times == 1)
                await api.until(lambda: api.watches == len(source.states))
            yield world


@pytest.mark.proves("KS-1")
@pytest.mark.refutes("KS-1")
async def test_failed_pods_and_templates_are_left_out() -> None:
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\n"
    failed = "apiVersion: v1\nkind: Pod\nmetadata: {name: f}\nstatus: {phase: Failed}\n---\n"
    async with running(pod("a"), failed, deployment) as world:
        await world.names("Pod default/a")
        world.put("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Failed}\n")
        await world.names()
        assert world.api.count("list", "deployments") == 0


@pytest.mark.proves("KS-2")
async def test_a_long_list_comes_in_pages() -> None:
    async with running(*(pod(f"p{number}") for number in range(8))) as world:
        assert len(world.sink.objects) == 8
        assert world.api.count("list", "pods") == 3
        assert world.state("Pod").objects == 8


@pytest.mark.refutes("KS-2")
async def test_a_list_that_breaks_off_removes_nothing() -> None:
    async with running(*(pod(f"p{number}") for number in range(8))) as world:
        world.api.objects.delete("pods", ("default", "p7"))
        await world.sink.until(lambda sink: len(sink.objects) == 7)
        world.api.fail("list", "pods", *[500] * 3)
        world.api.denied.add(("watch", "pods"))
        world.api.objects.delete("pods", ("default", "p6"))
        world.api.objects.compact()
        await world.codes("kubernetes.refused")
        assert len(world.sink.objects) >= 6
        world.api.denied.clear()
        await world.sink.until(lambda sink: len(sink.objects) == 6)
        await world.codes()


@pytest.mark.proves("KS-3")
@pytest.mark.refutes("KS-3")
async def test_a_heartbeat_is_no_change_and_an_edit_is() -> None:
    beat = "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {beat: %d}\n"
    async with running(beat % 1) as world:
        for number in range(2, 30):
            world.put(beat % number)
        world.put("apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {zone: z}}\n")
        await world.sink.until(lambda sink: sink.calls.count(("put", "/n")) == 2)
        assert world.state("Node").events == 29


@pytest.mark.proves("KS-4")
@pytest.mark.refutes("KS-4")
async def test_a_refused_policy_keeps_its_last_good_version() -> None:
    async with running(policy("p", "{action: DENY}")) as world:
        good = next(iter(world.sink.objects.values()))
        world.put(policy("p", "{acton: DENY}"))
        await world.codes("manifest.invalid")
        assert next(iter(world.sink.objects.values())) == good
        (problem,) = world.sink.found["kubernetes/AuthorizationPolicy"]
        assert problem.field == "spec.acton"
        assert problem.message.endswith("the last good version stays in force")
        world.put(policy("p", "{action: ALLOW}"))
        await world.codes()
        assert next(iter(world.sink.objects.values())) != good


@pytest.mark.proves("KS-4")
async def test_a_refused_policy_that_is_deleted_is_gone() -> None:
    async with running(policy("p"), policy("q", "{acton: DENY}")) as world:
        await world.codes("manifest.invalid")
        world.put(policy("p", "{acton: DENY}"))
        await world.codes("manifest.invalid", "manifest.invalid")
        for name in ("p", "q"):
            world.api.objects.delete(POLICIES, ("default", name))
        await world.codes()
        assert world.sink.names() == []


@pytest.mark.proves("KS-7")
async def test_a_watch_that_is_cut_goes_on_where_it_was() -> None:
    async with running(pod("a")) as world:
        lists = world.api.count("list", "pods")
        world.api.break_connections()
        world.put(pod("b"))
        await world.names("Pod default/a", "Pod default/b")
        assert world.api.count("list", "pods") == lists
        assert world.sink.calls.count(("put", "default/a")) == 1


@pytest.mark.proves("KS-7")
async def test_a_silent_watch_is_opened_again() -> None:
    async with running(pod("a"), idle_seconds=0.2) as world:
        world.api.is_silent = True
        world.put(pod("b"))
        watches = world.api.count("watch", "pods")
        await world.api.until(lambda: world.api.count("watch", "pods") > watches)
        assert world.sink.names() == ["Pod default/a"]
        world.api.is_silent = False
        world.api.objects.wake()
        await world.names("Pod default/a", "Pod default/b")


@pytest.mark.proves("KS-7")
@pytest.mark.refutes("KS-8")
async def test_a_bookmark_moves_a_quiet_watch_on() -> None:
    async with running(policy("p")) as world:
        lists = world.api.count("list", POLICIES)
        for number in range(5):
            world.put(pod(f"p{number}"))
        world.api.bookmark()
        await world.sink.until(lambda sink: len(sink.objects) == 6)
        heard = world.state("AuthorizationPolicy").heard_at or 0.0
        world.api.bookmark()
        await world.api.until(lambda: (world.state("AuthorizationPolicy").heard_at or 0.0) > heard)
        world.api.objects.compacted = world.api.objects.revision
        world.api.break_connections()
        world.put(policy("q"))
        await world.sink.until(lambda sink: len(sink.objects) == 7)
        assert world.api.count("list", POLICIES) == lists


@pytest.mark.proves("KS-8")
@pytest.mark.refutes("KS-7")
async def test_after_410_only_differences_are_told() -> None:
    async with running(pod("a"), pod("b"), pod("c")) as world:
        await world.api.stop()
        world.put(pod("a", "other"))
        world.api.objects.delete("pods", ("default", "b"))
        world.put(pod("d"))
        world.api.objects.compact()
        del world.sink.calls[:]
        await world.api.start()
        await world.names("Pod default/a", "Pod default/c", "Pod default/d")
        told = [call for call in world.sink.calls if call[0] in ("put", "remove")]
        assert sorted(told) == [
            ("put", "default/a"),
            ("put", "default/d"),
            ("remove", "default/b"),
        ]


@pytest.mark.proves("KS-9", "KS-16")
async def test_a_kind_that_is_not_defined_is_empty_and_appears_later() -> None:
    async with running(pod("a"), prepare=lambda _: None, is_synced=False) as world:
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert not world.state("AuthorizationPolicy").is_present
        world.api.objects.define_all()
        world.put(policy("p"))
        await world.names("AuthorizationPolicy default/p", "Pod default/a")
        assert world.state("AuthorizationPolicy").is_present


@pytest.mark.refutes("KS-9", "KS-16")
async def test_a_kind_that_is_defined_but_cannot_be_listed_holds_back_synced() -> None:
    def prepare(api: KubernetesApi) -> None:
        api.objects.define_all()
        api.denied.add(("list", POLICIES))

    async with running(pod("a"), policy("p"), prepare=prepare, is_synced=False) as world:
        await world.codes("kubernetes.refused")
        await world.names("Pod default/a")
        assert world.sink.synced_times == 0
        world.api.denied.clear()
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert "AuthorizationPolicy default/p" in world.sink.names()


@pytest.mark.refutes("KS-9")
async def test_a_definition_that_does_not_work_yet_holds_back_synced() -> None:
    definition = a_definition(
        "security.istio.io", ("v1",), "AuthorizationPolicy", POLICIES, is_established=False
    )

    def prepare(api: KubernetesApi) -> None:
        api.objects.write(DEFINITIONS, POLICIES_DEFINITION, definition)

    async with running(pod("a"), prepare=prepare, is_synced=False) as world:
        await world.names("Pod default/a")
        assert world.sink.synced_times == 0
        state = world.state("AuthorizationPolicy")
        assert (state.trouble, state.is_synced) == ("its definition is not established", False)
        definition["status"]["conditions"][0]["status"] = "True"
        world.api.objects.write(DEFINITIONS, POLICIES_DEFINITION, definition)
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert world.state("AuthorizationPolicy").trouble == ""


@pytest.mark.proves("KS-17")
async def test_definitions_that_may_not_be_listed_are_said_to_be_missing() -> None:
    def prepare(api: KubernetesApi) -> None:
        api.objects.define_all()
        api.denied.add(("list", DEFINITIONS))

    async with running(pod("a"), policy("p"), prepare=prepare, is_synced=False) as world:
        await world.codes("kubernetes.refused")
        await world.names("Pod default/a")
        assert world.sink.synced_times == 0
        (problem,) = world.sink.found["kubernetes/CustomResourceDefinition"]
        assert "HTTP status 403" in problem.message
        assert not world.state("CustomResourceDefinition").is_synced
        waiting = world.state("AuthorizationPolicy")
        assert not waiting.is_synced
        assert waiting.trouble.startswith("its definition is not known: the API server refuses")
        assert world.state("Pod").trouble == ""
        world.api.denied.clear()
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert "AuthorizationPolicy default/p" in world.sink.names()
        assert {each.trouble for each in world.source.states} == {""}
        assert all(each.is_synced for each in world.source.states)


@pytest.mark.refutes("KS-17")
async def test_definitions_that_were_listed_once_stay_known() -> None:
    async with running(policy("p")) as world:
        world.api.denied |= {("list", DEFINITIONS), ("watch", DEFINITIONS)}
        world.api.break_connections()
        await world.codes("kubernetes.refused")
        assert world.state("CustomResourceDefinition").is_synced
        assert world.state("AuthorizationPolicy").is_synced
        world.put(policy("q"))
        await world.sink.until(lambda sink: len(sink.objects) == 2)


@pytest.mark.proves("KS-10")
async def test_deleting_a_definition_empties_its_kind() -> None:
    async with running(policy("p"), pod("a")) as world:
        world.api.objects.delete(DEFINITIONS, POLICIES_DEFINITION)
        await world.names("Pod default/a")
        world.api.objects.define_all()
        world.put(policy("q"))
        await world.names("AuthorizationPolicy default/q", "Pod default/a")
        assert world.sink.synced_times == 1


@pytest.mark.proves("KS-10")
async def test_a_definition_deleted_while_nobody_looked_empties_its_kind() -> None:
    async with running(policy("p"), pod("a")) as world:
        await world.api.stop()
        world.api.objects.delete(DEFINITIONS, POLICIES_DEFINITION)
        world.api.objects.compact()
        await world.api.start()
        await world.names("Pod default/a")


@pytest.mark.refutes("KS-10")
async def test_404_of_a_kind_keeps_its_objects() -> None:
    async with running(policy("p")) as world:
        world.api.fail("list", POLICIES, *[404] * 5)
        world.api.fail("watch", POLICIES, *[404] * 8)
        world.api.break_connections()
        await world.codes("kubernetes.refused")
        assert world.sink.names() == ["AuthorizationPolicy default/p"]
        await world.codes()
        assert ("remove", "default/p") not in world.sink.calls


@pytest.mark.proves("KS-11")
@pytest.mark.refutes("KS-11")
async def test_a_kind_is_read_in_a_known_version_or_is_a_problem() -> None:
    def prepare(api: KubernetesApi) -> None:
        api.objects.define_all()
        define(api, "v1beta1", "v9")

    def define(api: KubernetesApi, *versions: str) -> None:
        definition = a_definition("security.istio.io", versions, "AuthorizationPolicy", POLICIES)
        api.objects.write(DEFINITIONS, POLICIES_DEFINITION, definition)

    async with running(policy("p"), prepare=prepare) as world:
        await world.names("AuthorizationPolicy default/p")
        define(world.api, "v9")
        await world.codes("kubernetes.unknown-version")
        assert world.sink.names() == ["AuthorizationPolicy default/p"]
        define(world.api, "v1")
        await world.codes()
        world.put(policy("q"))
        await world.sink.until(lambda sink: len(sink.objects) == 2)


@pytest.mark.proves("KS-11", "KS-16")
async def test_nothing_is_synced_without_a_kind_that_is_there_in_unknown_versions_only() -> None:
    def define(api: KubernetesApi, *versions: str) -> None:
        definition = a_definition("security.istio.io", versions, "AuthorizationPolicy", POLICIES)
        api.objects.write(DEFINITIONS, POLICIES_DEFINITION, definition)

    async with running(
        policy("p"), prepare=lambda api: define(api, "v9"), is_synced=False
    ) as world:
        await world.codes("kubernetes.unknown-version")
        await world.sink.until(lambda _: world.state("Pod").is_synced)
        assert not world.state("AuthorizationPolicy").is_synced
        assert world.sink.synced_times == 0
        define(world.api, "v1")
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert world.sink.names() == ["AuthorizationPolicy default/p"]


@pytest.mark.proves("KS-12")
async def test_an_outage_keeps_everything_and_says_so() -> None:
    async with running(pod("a"), policy("p")) as world:
        await world.api.stop()
        await world.sink.until(
            lambda sink: set(sink.codes()) == {"kubernetes.unavailable"} and len(sink.found) > 10
        )
        assert world.sink.names() == ["AuthorizationPolicy default/p", "Pod default/a"]
        assert not world.state("Pod").is_current
        await world.api.start()
        await world.codes()
        assert world.state("Pod").is_current
        world.put(pod("b"))
        await world.sink.until(lambda sink: len(sink.objects) == 3)


@pytest.mark.refutes("KS-12")
async def test_a_short_outage_is_no_problem() -> None:
    patient = replace(QUICK, patience=1000.0)
    async with running(pod("a"), settings=patient) as world:
        await world.api.stop()
        await world.api.until(lambda: not world.state("Pod").is_current)
        world.put(pod("b"))
        await world.api.start()
        await world.names("Pod default/a", "Pod default/b")
        assert not [call for call in world.sink.calls if call[0] == "problems"]


@pytest.mark.proves("KS-12", "KS-13")
async def test_an_api_server_that_is_busy_is_waited_for_as_long_as_it_asks() -> None:
    async with running(pod("a")) as world:
        watches = world.api.count("watch", "pods")
        world.api.fail("watch", "pods", 429)
        began = asyncio.get_running_loop().time()
        world.api.break_connections()
        world.put(pod("b"))
        await world.names("Pod default/a", "Pod default/b")
        assert asyncio.get_running_loop().time() - began >= 1.0
        assert world.api.count("watch", "pods") == watches + 2
        assert not [call for call in world.sink.calls if call[0] == "problems"]


@pytest.mark.refutes("KS-13")
async def test_an_api_server_that_is_unwell_is_asked_again_soon() -> None:
    slow = replace(QUICK, follow=replace(QUICK.follow, refused=Waits(first=1000.0, most=1000.0)))
    async with running(pod("a"), settings=replace(slow, patience=1000.0)) as world:
        world.api.fail("watch", "pods", 503, 500)
        world.api.break_connections()
        world.put(pod("b"))
        await world.names("Pod default/a", "Pod default/b")
        assert not [call for call in world.sink.calls if call[0] == "problems"]


@pytest.mark.proves("KS-14")
async def test_a_list_whose_pages_expire_is_asked_for_whole() -> None:
    async with running(*(pod(f"p{number}") for number in range(8))) as world:
        await world.api.stop()
        world.api.objects.compact()
        world.api.objects.delete("pods", ("default", "p7"))
        world.api.fail("watch", "pods", 410)
        await world.api.start()
        before = world.api.count("list", "pods")
        pages = world.api._pages
        world.api._pages = _Forgetful()
        await world.sink.until(lambda sink: len(sink.objects) == 7)
        world.api._pages = pages
        limits = [
            each.parameters.get("limit")
            for each in world.api.asked
            if (each.verb, each.resource) == ("list", "pods")
        ]
        assert limits[before:] == ["3", "3", None]


@pytest.mark.refutes("KS-14")
async def test_a_list_whose_pages_are_kept_stays_in_pages() -> None:
    async with running(*(pod(f"p{number}") for number in range(8))) as world:
        limits = [
            each.parameters.get("limit")
            for each in world.api.asked
            if (each.verb, each.resource) == ("list", "pods")
        ]
        assert limits == ["3", "3", "3"]


@pytest.mark.proves("KS-15")
async def test_a_cluster_restored_from_a_backup_is_listed_again() -> None:
    async with running(pod("a")) as world:
        await world.api.stop()
        world.api.objects.revision -= 500
        world.put(pod("b"))
        await world.api.start()
        await world.names("Pod default/a", "Pod default/b")


@pytest.mark.refutes("KS-15")
async def test_two_refused_watches_list_nothing_again() -> None:
    async with running(pod("a")) as world:
        lists = world.api.count("list", "pods")
        world.api.fail("watch", "pods", 504, 504)
        world.api.break_connections()
        world.put(pod("b"))
        await world.names("Pod default/a", "Pod default/b")
        assert world.api.count("list", "pods") == lists


@pytest.mark.proves("KS-8", "KS-12")
async def test_many_restarts_end_where_a_new_source_would() -> None:
    async with running(*(pod(f"p{number}") for number in range(10))) as world:
        for number in range(10):
            await world.api.stop()
            world.put(pod(f"p{number}", f"x{number}"))
            world.api.objects.delete("pods", ("default", f"p{(number * 7) % 10}"))
            if number % 3 == 0:
                world.api.objects.compact()
            await world.api.start()
            world.put(pod(f"q{number}"))
            await asyncio.sleep(0)
        await world.told("Pod")
        expected = sorted(f"Pod {'/'.join(key)}" for key in world.api.objects.held["pods"])
        await world.names(*expected)


async def test_lag_is_told_of_objects_that_are_added() -> None:
    lags: list[tuple[str, float]] = []
    sink = RecordingSink()
    async with KubernetesApi() as api, client_of(api) as client:
        put(api.objects, pod("a"))
        source = KubernetesSource(
            client, settings=QUICK, lag=lambda kind, seconds: lags.append((kind, seconds))
        )
        async with Running(source, sink):
            await sink.until(lambda sink: sink.synced_times == 1)
            assert lags == []
            put(api.objects, pod("b"))
            await sink.until(lambda sink: len(sink.objects) == 2)
    ((kind, seconds),) = lags
    assert kind == "Pod"
    assert 0.0 <= seconds < 20.0


@pytest.mark.proves("KS-13")
async def test_a_source_that_is_refused_slows_down() -> None:
    slow = replace(QUICK, follow=replace(QUICK.follow, refused=Waits(first=0.01, most=1000.0)))

    def prepare(api: KubernetesApi) -> None:
        api.denied.add(("list", "pods"))

    async with running(prepare=prepare, is_synced=False, settings=slow) as world:
        await world.api.until(lambda: world.api.count("list", "pods") == 4)
        assert world.sink.codes() == ["kubernetes.refused"]


class _Forgetful(dict[str, Any]):
    """Pages that expire at once."""

    def __contains__(self, key: object) -> bool:
        return False


TLS_POLICY = """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: %s}
spec: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: %s}]}}
"""
AUTHORITIES = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {ca.crt: %s}\n"
BOTH = ["BackendTLSPolicy default/p", "ConfigMap default/roots"]


@pytest.mark.proves("KS-20")
async def test_a_config_map_is_followed_while_a_policy_names_it() -> None:
    texts = (TLS_POLICY % ("p", "roots"), AUTHORITIES % ("roots", "one"))
    async with running(*texts, AUTHORITIES % ("other", "x"), is_synced=False) as world:
        await world.sink.until(lambda sink: sink.synced_times == 1)
        assert world.sink.names() == BOTH
        world.put(AUTHORITIES % ("roots", "two"))
        await world.sink.until(lambda sink: sink.calls.count(("put", "default/roots")) == 2)
        world.put(TLS_POLICY % ("p", "other"))
        await world.names(BOTH[0], "ConfigMap default/other")
        world.api.objects.delete("backendtlspolicies", ("default", "p"))
        await world.names()


@pytest.mark.refutes("KS-20")
async def test_config_maps_that_nobody_names_are_not_asked_for() -> None:
    async with running(AUTHORITIES % ("roots", "one"), pod("a")) as world:
        await world.names("Pod default/a")
        world.put(AUTHORITIES % ("roots", "two"))
        await world.told("Pod")
        assert world.sink.names() == ["Pod default/a", "Pod default/zz-marker"]


@pytest.mark.proves("KS-20")
async def test_a_config_map_that_is_refused_is_not_waited_for() -> None:
    def prepare(api: KubernetesApi) -> None:
        api.objects.define_all()
        api.denied.add(("list", "configmaps"))

    async with running(TLS_POLICY % ("p", "roots"), prepare=prepare, is_synced=False) as world:
        await world.sink.until(lambda sink: "BackendTLSPolicy default/p" in sink.names())
        await world.sink.until(lambda sink: "kubernetes/ConfigMap default/roots" in sink.found)
