import pytest

from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name
from tests.support.builders import a_gateway, a_namespace, a_service, a_service_entry
from tests.support.expansion import a_bare_pod, a_template, an_expanded_mesh


@pytest.mark.proves("EX-60")
@pytest.mark.refutes("EX-60")
def test_a_namespace_carries_its_name() -> None:
    mesh = an_expanded_mesh(a_namespace("a", labels={"x": "y"}))
    namespace = mesh.expansion.manifests.namespaces.get(Name("", "a"))
    assert namespace is not None
    assert namespace.metadata.labels == {"x": "y", "kubernetes.io/metadata.name": "a"}
    stated = a_namespace("b", labels={"kubernetes.io/metadata.name": "other"})
    mesh.put(stated)
    assert mesh.expansion.manifests.namespaces.get(Name("", "b")) == stated


@pytest.mark.proves("EX-61")
@pytest.mark.refutes("EX-61")
def test_a_cluster_needs_no_expansion() -> None:
    given = [
        a_namespace(),
        a_bare_pod(),
        a_template(),
        a_service(ips=[]),
        a_gateway(),
        a_service_entry(),
    ]
    mesh = an_expanded_mesh(*given, settings=MeshSettings())
    assert mesh.expansion.manifests == mesh.inputs.manifests()
    assert mesh.expansion.problems == ()
    expanded = an_expanded_mesh(*given)
    assert expanded.state() != mesh.state()


def test_a_range_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        an_expanded_mesh(settings=MeshSettings(expands=True, pod_range="nonsense"))
