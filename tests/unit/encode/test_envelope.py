import subprocess
import sys

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.envelope import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    LISTENER_TYPE,
    content_version,
    delimited,
    digest_of,
    envelope,
    resource,
    resource_of_parts,
)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2_100_000])
def test_the_envelope_is_what_protobuf_would_have_written(size: int) -> None:
    expected = discovery_pb2.Resource(name="näme", version="0123456789abcdef")
    expected.resource.type_url = ADDRESS_TYPE
    expected.resource.value = b"x" * size
    body = envelope("näme", "0123456789abcdef", ADDRESS_TYPE, b"x" * size)
    if size:
        assert body == expected.SerializeToString(deterministic=True)
    else:
        # An empty value is written, not left out: the same message all the same.
        assert discovery_pb2.Resource.FromString(body) == expected


def test_delimited_writes_tag_length_and_content() -> None:
    assert delimited(b"\x0a", b"abc") == b"\x0a\x03abc"
    assert delimited(b"\x12", b"z" * 300) == b"\x12\xac\x02" + b"z" * 300


@pytest.mark.proves("MSG-5")
def test_the_resource_carries_the_type_of_its_stream() -> None:
    made = resource("a/b", b"content", AUTHORIZATION_TYPE)
    read = discovery_pb2.Resource.FromString(made.body)
    assert read.resource.type_url == "type.googleapis.com/istio.security.Authorization"
    assert (read.name, read.version) == (made.name, made.version)
    assert list(read.aliases) == []


@pytest.mark.refutes("MSG-5")
def test_a_type_without_a_stream_has_no_envelope() -> None:
    with pytest.raises(KeyError):
        envelope("a/b", "1", "type.googleapis.com/istio.workload.Service", b"")


@pytest.mark.proves("MSG-8")
def test_the_version_is_the_same_in_every_process() -> None:
    code = "from controlplane.encode.envelope import content_version as v; print(v(b'content'))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    version = content_version(b"content")
    assert elsewhere.stdout.strip() == version
    assert len(version) == 16
    assert int(version, 16) >= 0


@pytest.mark.refutes("MSG-8")
def test_other_content_has_another_version() -> None:
    versions = {content_version(content) for content in (b"", b"a", b"b", b"ab")}
    assert len(versions) == 4


@pytest.mark.proves("MSG-9")
def test_what_is_beside_the_content_decides_the_version_too() -> None:
    beside = {content_version(b"a", beside=key) for key in (b"", b"b", b"c")}
    assert len(beside) == 3
    assert content_version(b"ab") not in beside


def test_a_message_in_parts_is_the_message_whole() -> None:
    parts = (b"one", b"", b"x" * 300, b"three")
    found = resource_of_parts("name", parts, LISTENER_TYPE, digests=map(digest_of, parts))
    whole = b"".join(parts)
    assert found.body == envelope("name", found.version, LISTENER_TYPE, whole)
    other = resource_of_parts("name", parts, LISTENER_TYPE, digests=[digest_of(whole)])
    assert found.version != other.version


def test_the_version_of_parts_is_that_of_their_digests() -> None:
    versions = {
        resource_of_parts("n", parts, LISTENER_TYPE, digests=map(digest_of, parts)).version
        for parts in ((b"a", b"b"), (b"ab",), (b"b", b"a"), (b"a", b"b"))
    }
    assert len(versions) == 3
