"""The double judges requests by RBAC as an API server does, and its log tells who needed what."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.cluster.api_server import ApiServer
from tests.support.kubernetes_access import Asked, Grant, grants_of, not_granted, unused
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of, put

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        put(api.objects, "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n")
        yield api


@pytest.fixture
async def client(api: KubernetesApi) -> AsyncIterator[ApiServer]:
    async with client_of(api) as client:
        yield client


def a_role(*rules: Any, namespace: str = "") -> list[Any]:
    kind = "Role" if namespace else "ClusterRole"
    metadata = {"name": "r", **({"namespace": namespace} if namespace else {})}
    subject = {"kind": "ServiceAccount", "namespace": "istio-system", "name": "istiod"}
    return [
        {"kind": kind, "metadata": metadata, "rules": list(rules)},
        {
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"kind": kind, "name": "r"},
            "subjects": [subject],
        },
    ]


def a_rule(verbs: str, resources: str, *names: str, group: str = "") -> Any:
    rule = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return {**rule, "resourceNames": list(names)} if names else rule


def asked(
    verb: str, resource: str, name: str = "", namespace: str = "", **parameters: str
) -> Asked:
    return Asked(verb, "", resource, namespace, name, parameters)


ACCOUNT = "istio-system/istiod"


def test_rules_reach_as_far_as_their_binding_and_names() -> None:
    documents = a_role(a_rule("list watch", "pods"), a_rule("get create", "configmaps", "m"))
    documents += a_role(a_rule("*", "secrets"), namespace="istio-system")
    grants = grants_of(documents, ACCOUNT)
    allowed = [
        asked("list", "pods"),
        asked("watch", "pods", namespace="any"),
        asked("get", "configmaps", "m", "any"),
        asked("delete", "secrets", "s", "istio-system"),
    ]
    assert not_granted(grants, allowed) == []
    refused = [
        asked("get", "pods", "p", "any"),
        asked("get", "configmaps", "other", "any"),
        asked("create", "configmaps", namespace="any"),
        asked("list", "configmaps"),
        asked("get", "secrets", "s", "shop"),
        asked("list", "secrets"),
        asked("list", "pods/status"),
    ]
    assert not_granted(grants, refused) == refused
    assert grants_of(documents, "istio-system/other") == frozenset()


def test_a_list_of_one_name_is_judged_by_that_name() -> None:
    grants = grants_of(a_role(a_rule("list", "configmaps", "istio")), ACCOUNT)
    one = asked("list", "configmaps", fieldSelector="metadata.name=istio")
    other = asked("list", "configmaps", fieldSelector="metadata.name=other")
    assert not_granted(grants, [one, other, asked("list", "configmaps")]) == [
        other,
        asked("list", "configmaps"),
    ]


def test_what_nobody_needed_is_found() -> None:
    grants = grants_of(a_role(a_rule("list watch get", "pods")), ACCOUNT)
    assert unused(grants, [asked("list", "pods"), asked("watch", "pods")]) == [
        Grant("get", "", "pods")
    ]


async def test_a_refusal_says_who_may_not_do_what(api: KubernetesApi, client: ApiServer) -> None:
    api.grants = grants_of(a_role(a_rule("get", "pods")), ACCOUNT)
    answer = await client.request("GET", "/api/v1/pods")
    status = json.loads(answer.body)
    assert (answer.status, status["reason"], status["kind"]) == (403, "Forbidden", "Status")
    assert status["message"] == (
        'pods is forbidden: User "system:serviceaccount:istio-system:istiod" cannot list resource '
        '"pods" in API group "" at the cluster scope'
    )
    answer = await client.request("DELETE", f"{MAPS}/m")
    assert json.loads(answer.body)["message"].startswith('configmaps "m" is forbidden: ')
    assert json.loads(answer.body)["message"].endswith('in the namespace "default"')


async def test_an_apply_that_makes_an_object_needs_two_rights(
    api: KubernetesApi, client: ApiServer
) -> None:
    async def apply() -> int:
        body = json.dumps({"metadata": {"name": "m"}, "data": {"a": "1"}}).encode()
        kind = "application/apply-patch+yaml"
        params = {"fieldManager": "ours"}
        answer = await client.request(
            "PATCH", f"{MAPS}/m", params=params, body=body, content_type=kind
        )
        return answer.status

    api.grants = grants_of(a_role(a_rule("patch", "configmaps")), ACCOUNT)
    assert await apply() == 403
    api.grants = grants_of(a_role(a_rule("patch create", "configmaps")), ACCOUNT)
    assert await apply() == 201
    assert [each.verb for each in api.checked[-2:]] == ["patch", "create"]
    api.grants = grants_of(a_role(a_rule("patch", "configmaps")), ACCOUNT)
    assert await apply() == 200
