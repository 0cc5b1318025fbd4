"""The mesh configuration in both of its places."""

import pytest

from controlplane.manifests.mesh_config import (
    MeshConfig,
    ServiceEntryVisibility,
    ServiceScope,
    VisibilityPolicy,
)
from controlplane.manifests.reading import MESH_CONFIG, read_documents
from controlplane.model.labels import LabelSelector, Requirement

FULL = """trustDomain: td1
rootNamespace: root
accessLogFile: /dev/stdout
accessLogEncoding: JSON
accessLogFormat: '{"a": "%PROTOCOL%"}'
enableTracing: true
discoverySelectors:
- matchLabels: {mesh: "yes"}
- matchExpressions: [{key: a, operator: Exists}]
serviceEntryVisibility:
  defaultVisibility: NAMESPACE
  policies:
  - visibility: NONE
    matchingRules: [{namespaceSelector: {matchLabels: {x: z}}}]
  - matchingRules: [{moonPhase: full}]
serviceScopeConfigs:
- scope: GLOBAL
  servicesSelector: {matchLabels: {g: "1"}}
"""
EXPECTED = MeshConfig(
    trust_domain="td1",
    root_namespace="root",
    discovery_selectors=(
        LabelSelector(labels=(("mesh", "yes"),)),
        LabelSelector(requirements=(Requirement(key="a", operator="Exists"),)),
    ),
    service_entry_visibility=ServiceEntryVisibility(
        default="NAMESPACE",
        policies=(
            VisibilityPolicy(visibility="NONE", selectors=(LabelSelector(labels=(("x", "z"),)),)),
            VisibilityPolicy(visibility="PUBLIC", unknown_matcher=True),
        ),
    ),
    service_scopes=(
        ServiceScope(scope="GLOBAL", service_selector=LabelSelector(labels=(("g", "1"),))),
    ),
    access_log_file="/dev/stdout",
    access_log_encoding="JSON",
    access_log_format='{"a": "%PROTOCOL%"}',
)


def config_map(text: str, name: str = "istio", namespace: str = "istio-system") -> str:
    indented = text.replace("\n", "\n    ")
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"data:\n  mesh: |\n    {indented}\n"
    )


@pytest.mark.proves("MF-19")
def test_both_places_give_the_same() -> None:
    for text, file in ((FULL, "x/meshconfig.yaml"), (FULL, "meshconfig.yml"),
                       (config_map(FULL), "any.yaml")):  # fmt: skip
        (document,) = read_documents(text, file).documents
        assert document.manifest == EXPECTED
        assert document.identity == MESH_CONFIG


def test_a_log_that_is_turned_off_is_not_one_that_nothing_is_said_of() -> None:
    for text, file in (("accessLogFile: ''", ""), ("accessLogFile: null", None), ("{}", None)):
        (document,) = read_documents(text, "meshconfig.yaml").documents
        assert isinstance(document.manifest, MeshConfig)
        assert document.manifest.access_log_file == file


@pytest.mark.proves("MF-19")
def test_an_empty_configuration_is_the_default() -> None:
    for text, file in (("{}", "meshconfig.yaml"), (config_map("{}"), "a"), (config_map("#"), "a")):
        (document,) = read_documents(text, file).documents
        assert document.manifest == MeshConfig()


@pytest.mark.refutes("MF-19")
@pytest.mark.parametrize(
    "text", [config_map(FULL, name="kiali"), config_map(FULL, namespace="other")]
)
def test_other_config_maps_are_left_alone(text: str) -> None:
    reading = read_documents(text)
    assert (reading.documents, reading.problems, reading.skipped) == ((), (), ())


@pytest.mark.refutes("MF-19")
def test_the_file_name_matters_only_without_a_kind() -> None:
    assert read_documents(FULL, "other.yaml").problems[0].field == "kind"
    (document,) = read_documents(
        "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n", "meshconfig.yaml"
    ).documents
    assert document.identity.kind == "Node"


@pytest.mark.refutes("MF-19")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("trustDomain: a/b", "trustDomain"),
        ("trustDomain: 7", "trustDomain"),
        ("rootNamespace: A", "rootNamespace"),
        ("discoverySelectors: [{matchLabel: {a: b}}]", "discoverySelectors[0].matchLabel"),
        ("serviceEntryVisibility: {defaultVisibility: ALL}",
         "serviceEntryVisibility.defaultVisibility"),
        ("serviceEntryVisibility: {policies: [{matchingRules: [{namespaceSelector: {x: y1}}]}]}",
         "serviceEntryVisibility.policies[0].matchingRules[0].namespaceSelector.x"),
        ("serviceScopeConfigs: [{scope: HERE}]", "serviceScopeConfigs[0].scope"),
        ("accessLogEncoding: XML", "accessLogEncoding"),
        ("pathNormalization: {normalization: MERGE}", "pathNormalization.normalization"),
        ("accessLogFile: 7", "accessLogFile"),
        ("[1]", None),
        ("trustDomain: a\ntrustDomain: b", "trustDomain"),
    ],
)  # fmt: skip
def test_an_unusable_configuration_is_refused(text: str, field: str | None) -> None:
    reading = read_documents(text, "meshconfig.yaml")
    assert (reading.documents, reading.refused) == ((), (MESH_CONFIG,))
    assert reading.problems[0].field == field
    reading = read_documents(config_map(text), "a.yaml")
    assert (reading.documents, reading.refused) == ((), (MESH_CONFIG,))
    assert reading.problems[0].field == "data.mesh"
    assert (field or "") in reading.problems[0].message


def test_a_config_map_without_the_text_is_refused() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    for rest in ("", "data: {mesh: 3}\n", "data: [a]\n", "data: {mesh: '{'}\n"):
        reading = read_documents(text + rest)
        assert (reading.refused, reading.problems[0].field) == ((MESH_CONFIG,), "data.mesh")


def test_a_config_map_that_might_be_the_one_is_refused() -> None:
    reading = read_documents("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 7}\n")
    assert (reading.refused, reading.problems[0].field) == ((None,), "metadata")
