"""What the chart installs: pods that nobody captures, and settings that exist."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices

from controlplane.admission.judgement import JUDGED
from controlplane.app.surroundings import require_possible
from controlplane.ca.secret_key_store import NAME as KEYS
from controlplane.cluster.istiod_locks import CONFIG_MAP_LOCKS
from controlplane.controllers.webhook_configuration import WEBHOOKS
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.reading import read_object
from controlplane.settings import Settings
from controlplane.store.secret_ledger_key import NAME as LEDGER_KEY
from tests.support.chart import (
    CASES,
    CHART,
    NAMESPACE,
    Json,
    cases,
    container,
    environment,
    of_kind,
    only,
)

IN_CLUSTER = {"POD_NAME": "istiod-1", "POD_NAMESPACE": NAMESPACE}


def pod(case: str) -> Json:
    return only(case, "Deployment")["spec"]["template"]


def names_of(name: str, field: Any) -> set[str]:
    if isinstance(field.validation_alias, AliasChoices):
        return {str(each) for each in field.validation_alias.choices}
    return {f"ISTIOD_LITE_{name.upper()}"}


def settings_of(case: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in (environment(case) | IN_CLUSTER).items():
        if not value.startswith("{"):
            monkeypatch.setenv(name, value)
    if "ISTIOD_LITE_DATABASE_URL" in environment(case):
        monkeypatch.setenv("ISTIOD_LITE_DATABASE_URL", "postgresql://user@database/mesh")
    return Settings()


@pytest.mark.parametrize("case", cases())
def test_every_variable_is_a_setting(case: str) -> None:
    known = {name for each in Settings.model_fields.items() for name in names_of(*each)}
    assert environment(case).keys() <= known


@pytest.mark.parametrize("case", cases())
def test_the_settings_can_be_served(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(case, monkeypatch)
    require_possible(settings, in_cluster=True)
    deployment = only(case, "Deployment")
    account = pod(case)["spec"]["serviceAccountName"]
    assert (
        settings.control_plane_account
        == account
        == only(case, "ServiceAccount")["metadata"]["name"]
    )
    assert settings.cluster == "required"
    assert settings.replicas >= deployment["spec"].get("replicas", 1)
    (mounted,) = [
        each["mountPath"] for each in container(case)["volumeMounts"] if each["name"] == "data"
    ]
    assert settings.data_dir.parent == Path(mounted)
    served = {settings.xds_port, settings.admin_port, settings.webhook_port, settings.health_port}
    assert {each["containerPort"] for each in container(case)["ports"]} == served


def test_values_that_name_defaults_of_settings_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_of("default", monkeypatch)
    differing = {
        name
        for name, field in Settings.model_fields.items()
        if getattr(found, name) != field.default
    }
    # Where it runs, and what it is called there.
    assert differing == {
        "cluster",
        "data_dir",
        "cacerts_dir",
        "replica_id",
        "webhook_configuration",
        "log_format",
    }


@pytest.mark.parametrize("case", cases())
def test_pods_give_up_every_privilege(case: str) -> None:
    spec = pod(case)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in (container(case), *spec.get("initContainers", ())):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    kinds = {kind for each in spec["volumes"] for kind in each if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
    assert {"cpu", "memory"} <= container(case)["resources"]["requests"].keys()


@pytest.mark.parametrize("case", cases())
def test_pods_are_found_by_tools_and_captured_by_nobody(case: str) -> None:
    metadata = pod(case)["metadata"]
    assert metadata["labels"]["app"] == "istiod"
    assert metadata["labels"]["istio.io/dataplane-mode"] == "none"
    assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
    assert "ambient.istio.io/redirection" not in metadata["annotations"]
    # An istiod's Service selects it, and would send its proxies here.
    assert "istio" not in metadata["labels"]


@pytest.mark.parametrize("case", cases())
def test_everything_that_selects_the_pods_does(case: str) -> None:
    labels = pod(case)["metadata"]["labels"]
    selectors = [only(case, "Service")["spec"]["selector"]]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor", "ServiceMonitor"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(case, kind)]
    assert all(each.items() <= labels.items() for each in selectors)


@pytest.mark.parametrize("case", cases())
def test_the_service_has_the_ports_that_clients_know(case: str) -> None:
    ports = {each["port"]: each["targetPort"] for each in only(case, "Service")["spec"]["ports"]}
    assert ports == {15012: 15012, 15014: 15014, 443: 15017}


@pytest.mark.parametrize("case", cases())
def test_a_pod_has_time_to_end(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(case, monkeypatch)
    before = container(case).get("lifecycle", {"preStop": {"exec": {"command": ["", "0"]}}})
    pause = int(before["preStop"]["exec"]["command"][1])
    grace = pod(case)["spec"]["terminationGracePeriodSeconds"]
    assert grace >= pause + settings.drain_timeout + 20


def test_more_replicas_stand_apart_and_go_one_after_another() -> None:
    spec = pod("ha-postgres")["spec"]
    keys = {each["topologyKey"] for each in spec["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert only("ha-postgres", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert "replicas" not in only("ha-postgres", "Deployment")["spec"]
    assert of_kind("default", "PodDisruptionBudget") == []


def test_a_replica_makes_the_schema_of_a_shared_database_and_none_waits_for_it_unstarted() -> None:
    assert environment("ha-postgres")["ISTIOD_LITE_MIGRATES_DATABASE"] == "true"
    # Whoever cannot start because the database is away would be started less and less often.
    assert "initContainers" not in pod("ha-postgres")["spec"]


def test_a_claim_is_one_pods_at_a_time_and_outlives_the_release() -> None:
    assert only("pvc", "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    claim = only("pvc", "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    held = [each for each in pod("pvc")["spec"]["volumes"] if "persistentVolumeClaim" in each]
    assert [each["persistentVolumeClaim"]["claimName"] for each in held] == [
        claim["metadata"]["name"]
    ]


def test_webhook_failures_count_only_when_the_leader_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = only("default", "ValidatingWebhookConfiguration")
    (entry,) = configuration["webhooks"]
    assert {entry["name"]} == WEBHOOKS
    assert (entry["failurePolicy"], entry["sideEffects"]) == ("Ignore", "None")
    assert "caBundle" not in entry["clientConfig"]
    service = only("default", "Service")["metadata"]["name"]
    assert entry["clientConfig"]["service"] == {
        "name": service,
        "namespace": NAMESPACE,
        "path": "/validate",
        "port": 443,
    }
    settings = settings_of("default", monkeypatch)
    assert settings.webhook_configuration == configuration["metadata"]["name"]
    ours = f"istiod-lite-validator-{settings.system_namespace}"
    assert settings.webhook_configuration == ours


def test_the_webhook_is_asked_about_exactly_what_it_judges() -> None:
    (entry,) = only("default", "ValidatingWebhookConfiguration")["webhooks"]
    asked = {
        (group, resource)
        for rule in entry["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    definitions = {
        (each["spec"]["group"], each["spec"]["names"]["kind"]): each["spec"]["names"]["plural"]
        for each in of_kind("crds", "CustomResourceDefinition")
    }
    plurals = definitions | {
        ("gateway.networking.k8s.io", kind): f"{kind.lower()}s"
        for kind in ("Gateway", "GRPCRoute", "HTTPRoute")
    }
    assert asked == {(group, plurals[group, kind]) for group, kind in JUDGED}


def test_the_mesh_configuration_is_one_we_read() -> None:
    found = read_object(only("ha-postgres", "ConfigMap"), system_namespace=NAMESPACE)
    assert isinstance(found, MeshConfig)
    assert found.trust_domain == "mesh.example"


def test_names_in_rights_are_those_of_the_code() -> None:
    rules = only("default", "Role")["rules"]
    named = {name for rule in rules for name in rule.get("resourceNames", ())}
    lease: str = Settings.model_fields["lease_name"].default
    locks = {each.name for each in CONFIG_MAP_LOCKS}
    assert named == {KEYS, LEDGER_KEY, lease, "istio"} | locks


def test_the_image_of_waypoints_is_the_one_that_is_tested() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["waypoints"]["image"] == Settings.model_fields["waypoint_image"].default


def test_versions_are_those_of_the_distribution() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version("istiod-lite")


@pytest.mark.parametrize("case", cases())
def test_an_istiod_takes_nothing_of_ours_for_its_own(case: str) -> None:
    # It looks for webhook configurations by revision, and its Service for pods by "istio: pilot".
    for each in of_kind(case, "ValidatingWebhookConfiguration"):
        assert not {"app", "istio", "istio.io/rev"} & each["metadata"]["labels"].keys()
    labels = pod(case)["metadata"]["labels"]
    assert labels.get("istio.io/rev", "") == environment(case).get("REVISION", "")


@pytest.mark.parametrize("case", cases())
def test_names_and_labels_are_texts_and_no_key_is_there_twice(case: str) -> None:
    text = (CASES / "expected" / f"{case}.yaml").read_text()
    for document in yaml.load_all(text, Loader=_Once):
        for metadata in _metadata(document):
            texts = [metadata.get("name", ""), *(metadata.get("labels") or {}).values()]
            texts += (metadata.get("annotations") or {}).values()
            assert [each for each in texts if not isinstance(each, str)] == []


class _Once(yaml.SafeLoader):
    """Refuses an object with a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), node.start_mark
        return super().construct_mapping(node, deep)


def _metadata(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            yield value["metadata"]
        for below in value.values():
            yield from _metadata(below)
    elif isinstance(value, list):
        for below in value:
            yield from _metadata(below)
