from controlplane.manifests import sharing
from controlplane.manifests.core import ContainerPort
from controlplane.manifests.metadata import Owner


def test_equal_mappings_are_one_object() -> None:
    first = sharing.shared_mapping({"app": "web", "version": "v1"})
    again = sharing.shared_mapping({"app": "web", "version": "v1"})
    other = sharing.shared_mapping({"app": "web", "version": "v2"})
    assert first is again
    assert first == {"app": "web", "version": "v1"}
    assert other == {"app": "web", "version": "v2"}


def test_nothing_is_an_empty_mapping() -> None:
    assert sharing.shared_mapping(None) == {}
    assert sharing.shared_mapping({}) is sharing.shared_mapping(None)


def test_equal_owners_are_one_object() -> None:
    first = sharing.shared_owner(Owner("ReplicaSet", "web-1"))
    assert sharing.shared_owner(Owner("ReplicaSet", "web-1")) is first
    assert sharing.shared_owner(Owner("DaemonSet", "web-1")) == Owner("DaemonSet", "web-1")


def test_equal_tuples_are_one_object() -> None:
    first = sharing.shared_tuple((ContainerPort("http", 8080),))
    assert sharing.shared_tuple((ContainerPort("http", 8080),)) is first
    assert sharing.shared_tuple((ContainerPort("http", 8080, "UDP"),))[0].protocol == "UDP"
    assert sharing.shared_tuple(()) == ()


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3 * sharing.LIMIT):
        assert sharing.shared_mapping({"number": str(number)}) == {"number": str(number)}
    assert len(sharing._mappings) <= sharing.LIMIT
