import json
from datetime import UTC, datetime

import msgspec
import pytest

from controlplane.manifests.decoding import KINDS
from controlplane.manifests.reading import Identity
from controlplane.model.names import Name
from controlplane.sources.kubernetes.kinds import WatchedKind, reader
from controlplane.sources.kubernetes.objects import Objects
from controlplane.sources.source import Origin
from tests.support.sources import RecordingSink

POLICY = WatchedKind(
    kind="AuthorizationPolicy",
    path="/x",
    read=reader(KINDS["security.istio.io", "AuthorizationPolicy"]),
)


def policy(name: str | None, spec: object = None, **metadata: object) -> msgspec.Raw:
    document = {"metadata": {"name": name, "namespace": "default", **metadata}, "spec": spec or {}}
    return msgspec.Raw(json.dumps(document).encode())


BAD = {"acton": "DENY"}


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def objects(sink: RecordingSink) -> Objects:
    return Objects("AuthorizationPolicy", sink)


def listed(objects: Objects, *texts: msgspec.Raw) -> None:
    objects.list_began()
    for text in texts:
        objects.listed(POLICY, text)
    objects.list_ended()
    objects.tell()


@pytest.mark.proves("KS-2")
def test_what_a_whole_list_does_not_name_is_gone(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, policy("a"), policy("b"))
    listed(objects, policy("b"))
    assert sink.names() == ["AuthorizationPolicy default/b"]
    assert len(objects) == 1


@pytest.mark.refutes("KS-2")
def test_a_list_that_did_not_end_removes_nothing(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, policy("a"), policy("b"))
    objects.list_began()
    objects.listed(POLICY, policy("b"))
    listed(objects, policy("a"), policy("b"))
    assert ("remove", "default/a") not in sink.calls


@pytest.mark.proves("KS-3")
def test_another_resource_version_is_no_change(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, policy("a", resourceVersion="1"))
    objects.changed(POLICY, policy("a", resourceVersion="2", managedFields=[{"time": "t"}]))
    assert sink.calls == [("put", "default/a")]


@pytest.mark.proves("KS-4")
def test_a_refused_object_that_a_list_still_names_stays(
    objects: Objects, sink: RecordingSink
) -> None:
    listed(objects, policy("a"))
    listed(objects, policy("a", BAD))
    assert sink.names() == ["AuthorizationPolicy default/a"]
    assert sink.codes() == ["manifest.invalid"]
    listed(objects)
    assert sink.names() == []
    assert sink.codes() == []


@pytest.mark.proves("KS-5")
def test_many_refused_objects_are_counted(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, *(policy(f"p{number}", BAD) for number in range(103)))
    (found,) = sink.found.values()
    assert len(found) == 101
    assert found[-1].message == "3 more objects of the kind cannot be read"


@pytest.mark.refutes("KS-5")
def test_a_hundred_refused_objects_are_all_named(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, *(policy(f"p{number}", BAD) for number in range(100)))
    (found,) = sink.found.values()
    assert len({problem.object for problem in found}) == 100
    assert None not in {problem.object for problem in found}


@pytest.mark.proves("KS-6")
def test_a_list_with_a_nameless_object_removes_nothing(
    objects: Objects, sink: RecordingSink
) -> None:
    listed(objects, policy("a"), policy("b"))
    listed(objects, policy(None), policy("b"))
    assert sink.names() == ["AuthorizationPolicy default/a", "AuthorizationPolicy default/b"]


@pytest.mark.refutes("KS-6")
def test_the_next_whole_list_removes_again(objects: Objects, sink: RecordingSink) -> None:
    listed(objects, policy("a"), policy(None))
    listed(objects, policy("b"))
    assert sink.names() == ["AuthorizationPolicy default/b"]


def test_deleting_what_is_not_known_is_nothing(objects: Objects, sink: RecordingSink) -> None:
    objects.deleted(POLICY, policy("a"))
    objects.tell()
    assert sink.calls == []


def test_the_age_of_an_object_is_told(objects: Objects) -> None:
    assert objects.changed(POLICY, policy("a", creationTimestamp="1970-01-01T00:01:00Z")) == 60.0
    assert objects.changed(POLICY, policy("b", BAD)) == 0.0


@pytest.mark.proves("KS-19")
def test_an_object_comes_with_its_version_and_the_time_of_its_last_change(
    objects: Objects, sink: RecordingSink
) -> None:
    times = ["2026-03-01T10:00:00Z", "2026-03-01T10:00:05Z", "2026-02-01T10:00:00Z"]
    managed = [{"manager": "x", "time": time} for time in times]
    listed(objects, policy("a", resourceVersion="17", managedFields=managed))
    identity = Identity("AuthorizationPolicy", Name("default", "a"))
    assert sink.objects[identity][1] == Origin(file="kubernetes", version="17")
    assert sink.written_at[identity] == datetime(2026, 3, 1, 10, 0, 5, tzinfo=UTC).timestamp()
    objects.changed(POLICY, policy("a", {"action": "DENY"}, resourceVersion="21"))
    assert sink.objects[identity][1].version == "21"
    assert sink.written_at[identity] == 0.0


@pytest.mark.refutes("KS-19")
@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"resourceVersion": 3},
        {"managedFields": [{"time": "yesterday"}]},
        {"managedFields": [{"time": 7}, None]},
        {"managedFields": [{"time": "0001-01-01T00:00:00"}]},
    ],
)
def test_an_object_that_does_not_tell_is_handed_on_all_the_same(
    objects: Objects, sink: RecordingSink, metadata: dict[str, object]
) -> None:
    listed(objects, policy("a", **metadata))
    identity = Identity("AuthorizationPolicy", Name("default", "a"))
    assert sink.objects[identity][1] == Origin(file="kubernetes")
    assert sink.written_at[identity] == 0.0


def test_a_heartbeat_keeps_the_version_of_what_is_read(
    objects: Objects, sink: RecordingSink
) -> None:
    listed(objects, policy("a", resourceVersion="1"))
    objects.changed(POLICY, policy("a", resourceVersion="2"))
    ((_, origin),) = sink.objects.values()
    assert origin.version == "1"
