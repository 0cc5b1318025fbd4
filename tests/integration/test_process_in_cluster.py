"""A whole process in a cluster that is the double of the API server."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.ca.authorities import Authorities
from controlplane.clock import SystemClock
from controlplane.model.certificate import AuthorityTier
from tests.support.authorities import a_key, a_root, an_authority
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put
from tests.support.plugged import key_pem
from tests.support.replicas import (
    CART,
    a_certificate,
    a_client,
    cluster_settings,
    fill,
    ready,
    root_maps,
    running,
    until,
    writes,
)

MESH_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "trustDomain: example.org"}
"""


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        fill(api)
        yield api


@pytest.mark.proves("RP-5", "RP-6", "RP-8", "RP-10")
async def test_a_node_proxy_is_served_from_the_cluster(api: KubernetesApi, tmp_path: Path) -> None:
    settings = cluster_settings(tmp_path, api)
    async with running(settings) as process, a_client(process) as client:
        await client.wait_for(
            lambda client: any(s.name == "cart" for s in client.state.services.by_key.values())
        )
        assert client.nacks == []
        held = await a_certificate(process)
        assert held.identity == CART
        await until(lambda: len(root_maps(api)) == 3)
        assert root_maps(api).keys() == {"istio-system", "shop", "kube-system"}
        assert set(root_maps(api).values()) == {process.root_file.read_text()}
        answer = await ready(process)
        assert answer.status_code == 200
        assert answer.text.splitlines() == ["ready", "this replica leads, with token 1"]
        found = (await ready(process, accept="application/json", port=process.health_port)).json()
        assert found["ready"] is True


async def test_the_webhook_of_a_process_judges(api: KubernetesApi, tmp_path: Path) -> None:
    async with running(cluster_settings(tmp_path, api)) as process:
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "kind": {
                    "group": "security.istio.io",
                    "version": "v1",
                    "kind": "PeerAuthentication",
                },
                "operation": "CREATE",
                "namespace": "shop",
                "object": {
                    "apiVersion": "security.istio.io/v1",
                    "kind": "PeerAuthentication",
                    "metadata": {"name": "odd", "namespace": "shop"},
                    "spec": {"mtls": {"mode": "SOMETIMES"}},
                },
            },
        }
        trust = ssl.create_default_context(cafile=process.root_file)
        async with httpx.AsyncClient(verify=trust) as client:
            url = f"https://localhost:{process.webhook_port}/validate"
            answer = (await client.post(url, json=review)).json()
            metrics = await client.get(f"http://127.0.0.1:{process.admin_port}/metrics")
        assert answer["response"]["allowed"] is False
        labels = ("security.istio.io", "invalid_resource", "peerauthentications")
        named = zip(("group", "reason", "resource"), labels, strict=True)
        resource = ",".join(f'{name}="{value}"' for name, value in named)
        assert f"galley_validation_failed{{{resource}}} 1.0" in metrics.text


@pytest.mark.proves("RP-9")
@pytest.mark.refutes("RP-8")
async def test_an_outage_of_the_api_server_ends_no_service(
    api: KubernetesApi, tmp_path: Path
) -> None:
    async with running(cluster_settings(tmp_path, api)) as process:
        await a_certificate(process)  # the review is remembered for a while
        await api.stop()
        assert process.cluster is not None
        states = process.cluster.source.states
        await until(lambda: all(s.troubled_since for s in process.cluster.source.states if s.lists))
        assert {state.kind for state in states} >= {"Pod", "Service", "Namespace"}
        async with a_client(process) as client:
            await client.wait_for(lambda client: client.session.is_ready)
            assert client.nacks == []
        await a_certificate(process)
        answer = await ready(process)
        assert answer.status_code == 200
        assert "the last objects known stay in force for" in answer.text
        assert "Pod" in answer.text
        await api.start()
        await until(lambda: not any(s.troubled_since for s in process.cluster.source.states))
        assert "stay in force" not in (await ready(process)).text


@pytest.mark.proves("RP-8")
@pytest.mark.refutes("RP-6", "RP-9")
async def test_nobody_is_ready_or_writes_before_everything_was_read(
    api: KubernetesApi, tmp_path: Path
) -> None:
    api.denied.add(("list", "pods"))
    process = Process(cluster_settings(tmp_path, api))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        await until(lambda: "403" in str(process.waiting_for()))
        answer = await ready(process)
        assert answer.status_code == 503
        sentence = "Pod objects have not been read yet: the API server refuses to give them"
        assert sentence in answer.text
        assert root_maps(api) == {}
        api.denied.clear()
        await until(lambda: not process.waiting_for(), 40)
        await until(lambda: len(root_maps(api)) == 3)
        process.stop()


@pytest.mark.proves("RP-14")
async def test_a_rescheduled_pod_with_an_empty_database_keeps_the_root(
    api: KubernetesApi, tmp_path: Path
) -> None:
    async with running(cluster_settings(tmp_path / "a", api, replica_id="a")) as process:
        before = process.root_file.read_text()
        first = await a_certificate(process)
        await until(lambda: len(root_maps(api)) == 3)
    api.objects.delete("leases", ("istio-system", "istiod-lite-ca"))
    mark = len(api.asked)
    async with running(cluster_settings(tmp_path / "b", api, replica_id="b")) as process:
        assert process.root_file.read_text() == before
        second = await a_certificate(process)
        assert second.chain[1] == first.chain[1]
        # Beyond the token of whoever led before, although nobody remembers the Lease.
        assert process.cluster is not None
        assert process.cluster.leadership.token == 2
        await asyncio.sleep(1)
        assert writes(api, mark) == []


@pytest.mark.proves("KY-6")
async def test_a_mesh_whose_keys_are_lost_is_not_given_another_root_unasked(
    api: KubernetesApi, tmp_path: Path
) -> None:
    async with running(cluster_settings(tmp_path / "a", api, replica_id="a")) as process:
        before = process.root_file.read_text()
        await until(lambda: len(root_maps(api)) == 3)
    api.objects.delete("secrets", ("istio-system", "istiod-lite-ca"))
    settings = cluster_settings(tmp_path / "b", api, replica_id="b")
    process = Process(settings)
    waiting = asyncio.create_task(process.run())
    await until(lambda: any("whose keys are lost" in each for each in process.waiting_for()))
    process.stop()
    await waiting
    assert set(root_maps(api).values()) == {before}
    asked = settings.model_copy(update={"replaces_lost_root": True})
    async with running(asked) as process:
        assert process.root_file.read_text() != before


@pytest.mark.refutes("RP-14")
async def test_another_cluster_has_another_root(api: KubernetesApi, tmp_path: Path) -> None:
    async with running(cluster_settings(tmp_path / "a", api)) as process:
        before = process.root_file.read_text()
    async with KubernetesApi() as other:
        fill(other)
        async with running(cluster_settings(tmp_path / "b", other)) as process:
            assert process.root_file.read_text() != before


@pytest.mark.proves("RP-13")
@pytest.mark.parametrize(
    ("manifest", "setting", "expected"),
    [
        (MESH_CONFIG, None, "example.org"),
        (MESH_CONFIG, "set.example", "set.example"),
        ("", None, "cluster.local"),
    ],
)
async def test_the_trust_domain_is_the_meshs(
    api: KubernetesApi, tmp_path: Path, manifest: str, setting: str | None, expected: str
) -> None:
    put(api.objects, manifest)
    async with running(cluster_settings(tmp_path, api, trust_domain=setting)) as process:
        assert process.cluster is not None
        kept = await process.cluster.keys.load()
        assert kept is not None
        assert kept.content.authorities.state.trust_domain == expected


@pytest.mark.refutes("RP-13")
async def test_a_mesh_configuration_that_cannot_be_read_is_no_start(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(api.objects, MESH_CONFIG.replace("trustDomain: example.org", "trustDomain: ["))
    with pytest.raises(StartupError, match="istio-system/istio, is unusable"):
        await Process(cluster_settings(tmp_path, api)).run()
    monkeypatch.setattr("controlplane.app.process._PATIENCE_IN_CLUSTER", 0.0)
    api.denied.add(("get", "configmaps"))
    with pytest.raises(StartupError, match=r"cannot be read from http://.*: HTTP status 403"):
        await Process(cluster_settings(tmp_path, api)).run()
    assert api.objects.held["secrets"] == {}


@pytest.mark.refutes("RP-2")
async def test_a_kubeconfig_that_is_none_is_no_start(api: KubernetesApi, tmp_path: Path) -> None:
    settings = cluster_settings(tmp_path, api)
    assert settings.kubeconfig is not None
    settings.kubeconfig.write_text("clusters: 7")
    with pytest.raises(StartupError, match="the cluster cannot be used"):
        await Process(settings).run()


async def test_a_lease_that_two_could_hold_is_no_start(api: KubernetesApi, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="settings of the Lease"):
        await Process(cluster_settings(tmp_path, api, lease_deadline=20.0)).run()


async def test_a_process_that_cannot_start_gives_up_its_lead(
    api: KubernetesApi, tmp_path: Path
) -> None:
    settings = cluster_settings(tmp_path, api)
    async with running(settings) as process:
        taken = process.webhook_port
    assert taken is not None
    async with running(cluster_settings(tmp_path / "b", api, webhook_port=taken)):
        other = cluster_settings(tmp_path / "c", api, webhook_port=taken, lease_name="another")
        with pytest.raises(StartupError, match="the webhook cannot be served"):
            await Process(other).run()
    lease = api.objects.get("leases", ("istio-system", "another"))
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == ""


async def test_a_process_is_told_to_stop_while_it_waits(api: KubernetesApi, tmp_path: Path) -> None:
    api.denied.add(("get", "configmaps"))
    process = Process(cluster_settings(tmp_path, api))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await api.until(lambda: api.count("get", "configmaps"))
        assert (await ready(process)).status_code == 503
        process.stop()
    assert not process.started.is_set()


@pytest.mark.refutes("RP-10")
async def test_beside_an_istiod_a_leader_serves_writes_nothing_and_says_why(
    api: KubernetesApi, tmp_path: Path
) -> None:
    record = {
        "holderIdentity": "istiod-7d9",
        "holderKey": "default",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-01T00:00:00Z",
        "renewTime": "2026-01-01T00:00:00Z",
        "leaderTransitions": 1,
    }
    annotations = {"control-plane.alpha.kubernetes.io/leader": json.dumps(record)}
    lock = ("istio-system", "istio-namespace-controller-election")
    api.objects.write("configmaps", lock, {"metadata": {"annotations": annotations}})
    async with running(cluster_settings(tmp_path, api, respects_istiod=True)) as process:
        await until(lambda: process.cluster is not None and process.cluster.leadership.is_leader)
        await a_certificate(process)
        await asyncio.sleep(3)
        answer = await ready(process)
        assert answer.status_code == 200
        (sentence,) = answer.text.splitlines()[1:]
        assert sentence.startswith("this replica leads, with token 1, and writes nothing: istiod")
        assert "istiod-7d9 holds istio-namespace-controller-election" in sentence
        assert {each.resource for each in writes(api)} == {"secrets"}


@pytest.mark.proves("RP-11")
async def test_a_new_root_waits_for_every_namespace(api: KubernetesApi, tmp_path: Path) -> None:
    api.denied.add(("patch", "configmaps"))
    async with running(cluster_settings(tmp_path, api)) as process:
        authorities = _authorities(process)
        assert process.cluster is not None
        await _order_root(process)
        await until(lambda: _waits(authorities, "ConfigMap shop/istio-ca-root-cert"))
        answer = await ready(process)
        assert "root-certificates: shop is not written, forbidden" in answer.text
        assert len(authorities.standing.kept.authorities.trusted) == 2  # type: ignore[union-attr]
        api.denied.clear()
        api.objects.write("namespaces", ("", "more"), {})
        await until(lambda: "more" in root_maps(api))


@pytest.mark.refutes("RP-11")
async def test_the_first_root_of_a_mesh_waits_for_nobody(
    api: KubernetesApi, tmp_path: Path
) -> None:
    api.denied |= {("patch", "configmaps"), ("list", "namespaces")}
    process = Process(cluster_settings(tmp_path, api))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        authorities = _authorities(process)
        assert authorities.current() is not None
        await _order_root(process)
        # Nobody knows the namespaces: a second one waits for those there may be.
        await until(lambda: _waits(authorities, "ConfigMap */istio-ca-root-cert"))
        process.stop()


@pytest.mark.proves("RP-16")
@pytest.mark.refutes("RP-15")
async def test_a_mesh_as_it_should_be_is_not_written_to(api: KubernetesApi, tmp_path: Path) -> None:
    async with running(cluster_settings(tmp_path, api)):
        await until(lambda: len(root_maps(api)) == 3)
        await asyncio.sleep(1)
        mark = len(api.asked)
        await asyncio.sleep(3)
        assert writes(api, mark) == []
        assert any(each.resource == "leases" for each in api.asked[mark:])


@pytest.mark.refutes("RP-16")
async def test_what_others_changed_is_written_again(api: KubernetesApi, tmp_path: Path) -> None:
    async with running(cluster_settings(tmp_path, api)) as process:
        await until(lambda: len(root_maps(api)) == 3)
        await until(lambda: _are_watched(api))
        api.objects.delete("configmaps", ("shop", "istio-ca-root-cert"))
        await until(lambda: "shop" in root_maps(api))
        assert root_maps(api)["shop"] == process.root_file.read_text()


async def test_what_is_read_and_led_is_measured(api: KubernetesApi, tmp_path: Path) -> None:
    async with running(cluster_settings(tmp_path, api)) as process:
        put(
            api.objects,
            "apiVersion: v1\nkind: Service\nmetadata: {name: late, namespace: shop}\n"
            "spec: {clusterIP: 10.0.0.2, ports: [{port: 80}]}\n",
        )
        await until(lambda: len(root_maps(api)) == 3)
        value = process.metrics.registry.get_sample_value
        pods = {"kind": "Pod", "state": "current"}
        await until(
            lambda: (
                (value("istiod_lite_may_write"), value("istiod_lite_watch_state", pods))
                == (1.0, 1.0)
            )
        )
        async with httpx.AsyncClient() as client:
            found = (await client.get(f"http://127.0.0.1:{process.admin_port}/metrics")).text
        assert "istiod_lite_may_write 1.0" in found
        assert 'istiod_lite_watch_state{kind="Gateway",state="absent"} 1.0' in found
        assert 'istiod_lite_watch_objects{kind="Pod"} 2.0' in found
        assert 'istiod_lite_watch_lag_seconds_count{kind="Service"} 1.0' in found
        assert 'istiod_lite_leader{election="istiod-lite-ca"} 1.0' in found
        assert 'istiod_lite_writes_total{outcome="written",resource="configmaps"} 3.0' in found


async def test_a_given_authority_signs_in_a_cluster_and_its_roots_are_everywhere(
    api: KubernetesApi, tmp_path: Path
) -> None:
    now = SystemClock().now().replace(microsecond=0) - timedelta(hours=1)
    root = a_root(number=9, begins=now)
    signing = an_authority(
        "plugged", key=a_key(number=900), parent=root, not_before=now, life=timedelta(days=30)
    )
    folder = tmp_path / "cacerts"
    folder.mkdir()
    (folder / "ca-cert.pem").write_text(signing.pem)
    (folder / "ca-key.pem").write_bytes(key_pem(signing.key))
    (folder / "cert-chain.pem").write_text(signing.pem)
    (folder / "root-cert.pem").write_text(root.pem)
    async with running(cluster_settings(tmp_path, api, cacerts_dir=folder)) as process:
        held = await a_certificate(process)
        assert held.chain[1] == signing.certificate
        await until(lambda: len(root_maps(api)) == 3)
        assert set(root_maps(api).values()) == {root.pem}
        assert set(api.objects.held["secrets"]) == {("istio-system", "istiod-lite-ledger")}


async def test_authorities_in_a_cluster_are_looked_at_and_ordered_about(
    api: KubernetesApi, tmp_path: Path
) -> None:
    settings = cluster_settings(tmp_path, api)

    async def ca(*arguments: str) -> str:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane.cli.main", "ca", *arguments),
            env={
                **os.environ,
                "ISTIOD_LITE_KUBECONFIG": str(settings.kubeconfig),
                "ISTIOD_LITE_DATA_DIR": str(settings.data_dir),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await running.communicate()
        return told.decode()

    assert "secret:istio-system/istiod-lite-ca: the first start" in await ca("status")
    async with running(settings) as process:
        assert await ca("root") == process.root_file.read_text()
        before = await a_certificate(process)
        assert "A new intermediate is ordered." in await ca("rotate", "intermediate")
        authorities = _authorities(process)
        old = before.chain[1].serial_number
        await until(lambda: _serial(authorities) != old)
        assert (await a_certificate(process)).chain[1] != before.chain[1]


def _serial(authorities: Authorities) -> int:
    current = authorities.current()
    assert current is not None
    return current.certificate.serial_number


def _authorities(process: Process) -> Authorities:
    certificates = process._readiness.certificates
    assert certificates is not None
    return certificates._kept.authorities


async def _order_root(process: Process) -> None:
    """Order a new root the way the command does, in the key store."""
    assert process.cluster is not None
    keys = process.cluster.keys
    kept = await keys.load()
    assert kept is not None
    orders = kept.content.orders
    rotates = orders.rotates | {AuthorityTier.ROOT}
    content = replace(kept.content, orders=replace(orders, rotates=rotates))
    await keys.save(content, expected=kept.revision)


def _are_watched(api: KubernetesApi) -> bool:
    selector = "metadata.name=istio-ca-root-cert"
    return any(
        each.verb == "watch" and each.parameters.get("fieldSelector") == selector
        for each in api.asked
    )


def _waits(authorities: Authorities, words: str) -> bool:
    return any(words in gate.waits_for for gate in authorities.standing.decision.gates)
