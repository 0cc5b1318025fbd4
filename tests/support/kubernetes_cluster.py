"""A client of the double of the API server, and objects as users write them put into the double."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import yaml
from kubernetes.aio.client import Configuration

from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ApiServer
from controlplane.cluster.credentials import Credentials
from controlplane.manifests.reading import MESH_CONFIG, Identity
from controlplane.sources.kubernetes.backoff import Waits
from controlplane.sources.kubernetes.following import FollowSettings
from controlplane.sources.kubernetes.source import KubernetesSettings
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_objects import Json, KubernetesObjects

QUICK = KubernetesSettings(
    follow=FollowSettings(
        page=3,
        unavailable=Waits(first=0.005, most=0.02),
        refused=Waits(first=0.005, most=0.02),
    ),
    patience=0.05,
)


@asynccontextmanager
async def client_of(api: KubernetesApi, **settings: Any) -> AsyncIterator[ApiServer]:
    configuration = Configuration()
    configuration.host = api.url
    client = ApiServer(Credentials(configuration, clock=SystemClock()), **settings)
    try:
        yield client
    finally:
        await client.close()


def put(objects: KubernetesObjects, text: str) -> None:
    """Make or replace the objects of a YAML text, status included."""
    for document in yaml.safe_load_all(text):
        if document is not None:
            put_document(objects, document)


def put_document(objects: KubernetesObjects, document: Json) -> Json:
    resource = next(each for each in objects.resources.values() if each.kind == document["kind"])
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "default") if resource.namespaced else ""
    key = (namespace, metadata["name"])
    live = objects.get(resource.plural, key)
    made = metadata.get("creationTimestamp")
    if live is not None and made not in (None, live["metadata"]["creationTimestamp"]):
        # The age of an object never changes: this is another one of the same name.
        objects.delete(resource.plural, key)
    return objects.write(resource.plural, key, document)


def remove(objects: KubernetesObjects, identity: Identity) -> None:
    if identity == MESH_CONFIG:
        objects.delete("configmaps", ("istio-system", "istio"))
        return
    plurals = {each.kind: each.plural for each in objects.resources.values()}
    objects.delete(plurals[identity.kind], tuple(identity.key))
