"""Texts, documents, kinds and limits of the reader."""

import json

import pytest

from controlplane.manifests.core import Namespace, Node, Pod, Service
from controlplane.manifests.documents import Limits
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import (
    Identity,
    Reading,
    read_documents,
    read_object,
    unknown_kind_note,
)
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity


def manifest_of(text: str) -> Manifest:
    reading = read_documents(text, "f.yaml")
    assert reading.problems == ()
    (document,) = reading.documents
    assert isinstance(document.manifest, Manifest)
    return document.manifest


def problem_of(text: str, file: str = "f.yaml") -> Problem:
    (problem,) = read_documents(text, file).problems
    return problem


def refused_whole(reading: Reading, code: str) -> bool:
    return not reading.readable and not reading.documents and reading.problems[0].code == code


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"


@pytest.mark.proves("MF-1")
def test_documents_are_read_with_their_lines() -> None:
    reading = read_documents(f"# first\n{POD}---\n---\n{POD.replace('a}', 'b}')}", "f.yaml")
    assert [(d.manifest.key.name, d.line) for d in reading.documents] == [("a", 2), ("b", 7)]  # type: ignore[union-attr] # pods have keys
    assert reading.problems == ()


@pytest.mark.proves("MF-1")
def test_json_values_follow_each_other() -> None:
    value = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}, indent=1)
    reading = read_documents(f"{value}\n{value}".encode(), "f.json")
    assert [document.line for document in reading.documents] == [1, 8]


@pytest.mark.proves("MF-1")
def test_flow_yaml_that_looks_like_json_is_read() -> None:
    assert manifest_of("{apiVersion: v1, kind: Pod, metadata: {name: a}}").key.name == "a"


@pytest.mark.refutes("MF-1")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("just text", None),
        ("[1, 2]", None),
        ("metadata: {name: a}", "kind"),
        ("kind: Pod\nmetadata: {name: a}", "apiVersion"),
        ("kind: 3\napiVersion: v1", "kind"),
        ("kind: {a: b}\napiVersion: v1", "kind"),
    ],
)
def test_a_document_that_is_no_object_is_a_problem(text: str, field: str | None) -> None:
    problem = problem_of(f"{text}\n")
    assert (problem.code, problem.field, problem.object) == ("manifest.invalid", field, None)


@pytest.mark.proves("MF-2")
def test_lists_are_taken_apart() -> None:
    reading = read_documents(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n"
        "- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n---\n"
        "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: s}\n"
    )
    assert [d.identity for d in reading.documents] == [
        Identity("Pod", Name("default", "a")),
        Identity("Node", Name("", "n1")),
        Identity("Service", Name("default", "s")),
    ]
    assert [d.line for d in reading.documents] == [4, 5, 10]


@pytest.mark.refutes("MF-2")
def test_a_kind_that_only_ends_in_list_is_no_list() -> None:
    reading = read_documents("apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\n")
    assert reading.skipped == ("AllowList.example.com",)
    reading = read_documents("apiVersion: v1\nkind: List\nitems: 3\n")
    assert (reading.documents, reading.skipped) == ((), ("List",))


def test_null_lists_are_empty_and_bad_items_do_not_hurt_the_others() -> None:
    assert read_documents("apiVersion: v1\nkind: List\nitems:\n").documents == ()
    reading = read_documents(
        "apiVersion: v1\nkind: PodList\nitems:\n- 7\n- metadata: {name: a}\n- metadata: {name: B}\n"
        "- metadata: {name: c, name: d}\n- metadata: {name: e}\n",
        "f.yaml",
    )
    assert [d.manifest.key.name for d in reading.documents] == ["a", "e"]  # type: ignore[union-attr] # pods have keys
    assert [(p.line, p.field) for p in reading.problems] == [
        (4, None),
        (6, "metadata.name"),
        (7, "metadata.name"),
    ]


def test_a_key_twice_around_the_items_refuses_the_list() -> None:
    reading = read_documents(
        "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\nitems: []\n", "f.yaml"
    )
    assert (reading.documents, reading.refused) == ((), (None,))


VERSIONS = [
    ("", "Service", ["v1"]),
    ("discovery.k8s.io", "EndpointSlice", ["v1", "v1beta1"]),
    ("apps", "Deployment", ["v1", "v1beta2", "v1beta1"]),
    ("gateway.networking.k8s.io", "Gateway", ["v1", "v1beta1", "v1alpha2"]),
    ("gateway.networking.k8s.io", "HTTPRoute", ["v1", "v1beta1", "v1alpha2"]),
    ("networking.istio.io", "ServiceEntry", ["v1", "v1beta1", "v1alpha3"]),
    ("networking.istio.io", "WorkloadEntry", ["v1", "v1beta1", "v1alpha3"]),
    ("security.istio.io", "AuthorizationPolicy", ["v1", "v1beta1"]),
    ("security.istio.io", "PeerAuthentication", ["v1", "v1beta1"]),
    ("security.istio.io", "RequestAuthentication", ["v1", "v1beta1"]),
]


@pytest.mark.proves("MF-3")
@pytest.mark.parametrize(("group", "kind", "versions"), VERSIONS)
def test_versions_of_a_kind_are_equal(group: str, kind: str, versions: list[str]) -> None:
    found = [
        manifest_of(f"apiVersion: {group}{'/' if group else ''}{version}\nkind: {kind}\n"
                    "metadata: {name: a, labels: {b: c}}\nspec: {}\n")
        for version in versions
    ]  # fmt: skip
    assert all(one == found[0] and one.kind == kind for one in found)


@pytest.mark.refutes("MF-3")
@pytest.mark.parametrize(("group", "kind", "versions"), VERSIONS)
def test_another_version_is_refused(group: str, kind: str, versions: list[str]) -> None:
    assert "v7" not in versions
    problem = problem_of(
        f"apiVersion: {group}{'/' if group else ''}v7\nkind: {kind}\nmetadata: {{name: a}}\n"
    )
    assert problem.field == "apiVersion"
    assert problem.object == ObjectReference(kind, "default", "a")


@pytest.mark.proves("MF-4")
def test_unknown_kinds_are_skipped_and_named_once() -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n---\n"
    gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\n---\n"
    reading = read_documents(job + gateway + job + POD)
    assert reading.skipped == ("Gateway.networking.istio.io", "Job.batch")
    assert (len(reading.documents), reading.problems, reading.refused) == (1, (), ())
    note = unknown_kind_note("Job.batch")
    assert (note.severity, note.code) == (Severity.INFO, "manifest.unknown-kind")


@pytest.mark.proves("MF-29")
@pytest.mark.refutes("MF-29")
@pytest.mark.parametrize(
    ("kind", "group", "severity"),
    [
        ("EnvoyFilter", "networking.istio.io", Severity.WARNING),
        ("ProxyConfig", "networking.istio.io", Severity.WARNING),
        ("Sidecar", "networking.istio.io", Severity.WARNING),
        ("Telemetry", "telemetry.istio.io", Severity.WARNING),
        ("TrafficExtension", "extensions.istio.io", Severity.WARNING),
        ("WasmPlugin", "extensions.istio.io", Severity.WARNING),
        ("Telemetry", "example.com", Severity.INFO),
        ("Gateway", "networking.istio.io", Severity.INFO),
    ],
)
def test_what_somebody_would_expect_of_proxies_is_a_warning(
    kind: str, group: str, severity: Severity
) -> None:
    reading = read_documents(f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: a}}\n")
    (skipped,) = reading.skipped
    note = unknown_kind_note(skipped)
    assert note.severity is severity
    assert f"{kind}.{group}" in note.message


@pytest.mark.refutes("MF-4")
@pytest.mark.parametrize(
    ("version", "kind", "field"),
    [
        ("security.istio.io/v1", "AuthorizationPolcy", "kind"),
        ("security.istio.io", "AuthorizationPolicy", "apiVersion"),
        ("v1", "PeerAuthentication", "apiVersion"),
        ("authentication.istio.io/v1", "PeerAuthentication", "apiVersion"),
    ],
)
def test_a_misspelt_policy_is_not_skipped(version: str, kind: str, field: str) -> None:
    reading = read_documents(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert reading.skipped == ()
    assert reading.problems[0].field == field
    other = "apiVersion: policy.example.com/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n"
    assert read_documents(other).skipped == ("AuthorizationPolicy.policy.example.com",)


@pytest.mark.proves("MF-6")
def test_namespaces_are_filled_in() -> None:
    assert manifest_of(POD).key == Name("default", "a")
    node = manifest_of("apiVersion: v1\nkind: Node\nmetadata: {name: n1, namespace: x}\n")
    assert isinstance(node, Node)
    assert node.key == Name("", "n1")
    namespace = manifest_of("apiVersion: v1\nkind: Namespace\nmetadata: {name: n1}\n")
    assert isinstance(namespace, Namespace)
    assert namespace.metadata.namespace == ""


@pytest.mark.refutes("MF-6")
def test_a_written_namespace_stays() -> None:
    assert manifest_of(POD.replace("a}", "a, namespace: shop}")).key == Name("shop", "a")


@pytest.mark.proves("MF-7")
@pytest.mark.parametrize("name", ["reviews-v1", "a.b.example.com", "1"])
def test_names_kubernetes_accepts(name: str) -> None:
    assert manifest_of(POD.replace("a}", f"'{name}'}}")).key.name == name


@pytest.mark.refutes("MF-7")
@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ("{}", "metadata.name"),
        ("{generateName: a-}", "metadata.name"),
        ("{name: ''}", "metadata.name"),
        ("{name: a/b}", "metadata.name"),
        ("{name: A}", "metadata.name"),
        ("{name: a, namespace: b.c}", "metadata.namespace"),
        ("{name: a, namespace: 'x/y'}", "metadata.namespace"),
        ("{name: 7}", "metadata.name"),
        ("{name: a, namespace: true}", "metadata.namespace"),
        ("[]", "metadata"),
    ],
)
def test_impossible_names_are_refused(metadata: str, field: str) -> None:
    reading = read_documents(f"apiVersion: v1\nkind: Pod\nmetadata: {metadata}\n", "f.yaml")
    assert (reading.problems[0].field, reading.refused) == (field, (None,))


@pytest.mark.proves("MF-8")
def test_a_text_over_the_limit_is_refused() -> None:
    assert refused_whole(read_documents(POD, limits=Limits(bytes=10)), "manifest.too-large")
    assert refused_whole(read_documents("# \u00e9\n", limits=Limits(bytes=4)), "manifest.too-large")


@pytest.mark.refutes("MF-8")
def test_a_text_at_the_limit_is_read() -> None:
    assert read_documents(POD, limits=Limits(bytes=len(POD))).documents != ()


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.proves("MF-9")
@pytest.mark.parametrize("text", [BOMB, POD + "spec:\n  " + BOMB.replace("\n", "\n  ")])
def test_aliases_count_as_often_as_they_are_used(text: str) -> None:
    assert refused_whole(read_documents(text), "manifest.too-many-values")


@pytest.mark.proves("MF-9")
def test_json_values_are_counted() -> None:
    assert refused_whole(
        read_documents("[1, 2, 3]", "f.json", limits=Limits(values=3)), "manifest.too-many-values"
    )


@pytest.mark.proves("MF-9")
@pytest.mark.parametrize("text", ["a: &a [*a]", "a: *b", "&a {b: *a}"])
def test_aliases_to_nothing_finished_are_refused(text: str) -> None:
    assert refused_whole(read_documents(text), "manifest.syntax")


def test_anchors_are_counted() -> None:
    text = "[" + ", ".join(f"&a{n} x" for n in range(5)) + "]"
    assert refused_whole(
        read_documents(text, limits=Limits(anchors=4)), "manifest.too-many-anchors"
    )


@pytest.mark.refutes("MF-9")
def test_ordinary_aliases_and_merges_work() -> None:
    pod = manifest_of(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"
        "  annotations: &first {istio.io/a: x, istio.io/v: '1'}\n"
        "  labels: {<<: *first, istio.io/v: '2'}\n"
    )
    assert pod.metadata.annotations == {"istio.io/a": "x", "istio.io/v": "1"}
    assert pod.metadata.labels == {"istio.io/a": "x", "istio.io/v": "2"}


ANNOTATED = """
apiVersion: {}
kind: {}
metadata:
  name: a
  annotations: {{ambient.istio.io/redirection: enabled, istio.io/dry-run: 'true', b.c/d: e, f: g}}
"""


@pytest.mark.proves("MF-23")
def test_annotations_that_no_rule_reads_are_left_out() -> None:
    pod = manifest_of(ANNOTATED.format("v1", "Pod"))
    assert pod.metadata.annotations == {
        "ambient.istio.io/redirection": "enabled",
        "istio.io/dry-run": "true",
    }


@pytest.mark.refutes("MF-23")
def test_gateways_keep_theirs() -> None:
    gateway = manifest_of(
        ANNOTATED.format("gateway.networking.k8s.io/v1", "Gateway")
        + "spec: {gatewayClassName: c, listeners: []}\n"
    )
    assert gateway.metadata.annotations["b.c/d"] == "e"


@pytest.mark.proves("MF-10")
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100,
        "[" * 5000 + "]" * 5000,
        "{a: " * 100 + "}" * 100,
        '{"a":' * 100 + "1" + "}" * 100,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40,
        "- " * 100 + "x",
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert refused_whole(read_documents(text), "manifest.too-deep")


@pytest.mark.refutes("MF-10")
def test_moderate_nesting_is_read() -> None:
    text = POD + "spec: {x: " + "[" * 50 + "]" * 50 + "}\n"
    assert read_documents(text).documents != ()


@pytest.mark.proves("MF-11")
@pytest.mark.parametrize("text", ["---\n1\n" * 4, "1 2 3 4"])
def test_too_many_documents_are_refused(text: str) -> None:
    file = "f.json" if text[0] == "1" else "f.yaml"
    reading = read_documents("{} " + text if file == "f.json" else text, file,
                             limits=Limits(documents=3))  # fmt: skip
    assert refused_whole(reading, "manifest.too-many-documents")


@pytest.mark.refutes("MF-11")
def test_as_many_documents_as_allowed_are_read() -> None:
    assert len(read_documents(f"---\n{POD}" * 3, limits=Limits(documents=3)).documents) == 3


@pytest.mark.proves("MF-16")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        (POD + "spec: {nodeName: a, nodeName: b}\n", "spec.nodeName"),
        (POD + "spec:\n  a: !foo bar\n", "spec.a"),
        (POD + "spec:\n  a: !!binary bar\n", "spec.a"),
        (POD + "spec:\n  a: !foo {}\n", "spec.a"),
        (POD + "spec:\n  a: [.inf]\n", "spec.a[0]"),
        (POD + "spec:\n  a: 1e999\n", "spec.a"),
        (POD + "spec:\n  ? [a]\n  : b\n", "spec"),
        (POD + "spec:\n  <<: 3\n", "spec"),
        (POD + "kind: Pod\n", "kind"),
    ],
)
def test_what_has_no_single_meaning_is_refused(text: str, field: str) -> None:
    reading = read_documents(text + "---\n" + POD.replace("a}", "b}"), "f.yaml")
    assert [d.manifest.key.name for d in reading.documents] == ["b"]  # type: ignore[union-attr] # pods have keys
    (problem,) = reading.problems
    assert (problem.field, problem.object) == (field, ObjectReference("Pod", "default", "a"))
    assert problem.line is not None
    assert problem.line >= 3


@pytest.mark.proves("MF-16")
@pytest.mark.parametrize(
    ("spec", "field"),
    [('{"a": 1, "b": 2, "a": 3}', "spec.a"), ('{"a": "\\ud800"}', "spec.a")],
)
def test_json_without_a_single_meaning_is_refused(spec: str, field: str) -> None:
    text = f'{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "a"}}, "spec": {spec}}}'
    assert problem_of(text, "f.json").field == field


@pytest.mark.refutes("MF-16")
def test_the_same_key_in_two_objects_is_fine() -> None:
    assert manifest_of(POD + "spec: {a: {b: 1}, c: {b: 1}}\n").key.name == "a"
    assert manifest_of(POD + "spec: {a: !!str 1, b: !!int '2', c: ! x}\n").key.name == "a"


@pytest.mark.proves("MF-18")
@pytest.mark.parametrize(
    ("text", "file", "line"),
    [
        (POD + "---\nkind: [\n", "f.yaml", 6),
        (POD + "spec: {a\n---\n", "f.yaml", 5),
        (POD + "\tx: 1\n", "f.yaml", 4),
        ("{} {", "f.json", 1),
        ('{"a": NaN}', "f.json", 1),
        ('{"a": ' + "9" * 5000 + "}", "f.json", 1),
        (POD + "a: \x01\n", "f.yaml", None),
    ],
)
def test_broken_texts_are_refused_whole(text: str, file: str, line: int | None) -> None:
    reading = read_documents(text, file)
    assert refused_whole(reading, "manifest.syntax")
    assert reading.problems[0].line == line
    assert reading.problems[0].file == file


@pytest.mark.proves("MF-18")
def test_texts_that_are_not_unicode_are_refused() -> None:
    assert read_documents(b"a: 1\nb: \xff\n").problems[0].line == 2
    assert refused_whole(read_documents("a: \ud800\n"), "manifest.syntax")


@pytest.mark.refutes("MF-18")
def test_texts_with_a_byte_order_mark_are_fine() -> None:
    assert read_documents(b"\xef\xbb\xbf" + POD.encode()).documents != ()
    assert read_documents("\ufeff" + POD).documents != ()
    assert read_documents(POD.replace("\n", "\r\n")).documents != ()


def test_read_object_is_the_same_reader() -> None:
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert read_object(value) == manifest_of(POD)
    assert isinstance(read_object(value), Pod)
    assert isinstance(read_object({**value, "kind": "Service"}), Service)
    assert read_object({**value, "kind": "Secret"}) is None
    problem = read_object({**value, "metadata": {}}, "f", 7)
    assert isinstance(problem, Problem)
    assert (problem.file, problem.line, problem.field) == ("f", 7, "metadata.name")


def test_empty_texts_say_so() -> None:
    assert read_documents(" \n").empty
    assert not read_documents("# nothing yet\n").empty
