from pathlib import Path

import pytest

from controlplane.cluster import context
from controlplane.cluster.api_server import ClusterLocation
from controlplane.cluster.context import context_namespace
from controlplane.cluster.errors import ClusterConfigurationError
from tests.support.kubernetes_thread import a_kubeconfig


async def test_the_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    config = a_kubeconfig(tmp_path / "one", "http://127.0.0.1:1", namespace="shop")
    assert await context_namespace(ClusterLocation(kubeconfig=config)) == "shop"
    other = ClusterLocation(kubeconfig=config, context="elsewhere")
    assert await context_namespace(other) == "other"
    bare = a_kubeconfig(tmp_path / "two", "http://127.0.0.1:1")
    assert await context_namespace(ClusterLocation(kubeconfig=bare)) == "default"


async def test_in_a_pod_it_is_the_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    file = tmp_path / "namespace"
    monkeypatch.setattr(context, "_POD_NAMESPACE", file)
    assert await context_namespace(ClusterLocation()) == "default"
    file.write_text("istio-system\n")
    assert await context_namespace(ClusterLocation()) == "istio-system"


@pytest.mark.parametrize("text", ["", "[]", "token: {hunter2", "contexts: hunter2"])
async def test_what_is_no_configuration_is_an_error_that_quotes_nothing(
    tmp_path: Path, text: str
) -> None:
    config = tmp_path / "config"
    config.write_text(text)
    with pytest.raises(ClusterConfigurationError) as raised:
        await context_namespace(ClusterLocation(kubeconfig=config))
    assert "hunter2" not in str(raised.value)
