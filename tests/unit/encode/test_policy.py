from dataclasses import fields, replace

import pytest

from controlplane.encode.envelope import AUTHORIZATION_TYPE
from controlplane.encode.errors import EncodeError
from controlplane.encode.policy import encode_authorization
from controlplane.encode.workload import encode_workload
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)
from controlplane.model.workload import Workload
from controlplane.pb import authorization_pb2
from tests.unit.encode.decoding import authorization_of, unwrapped, workload_of

MATCH = Match(
    namespaces=(StringMatch(MatchType.EXACT, "apps"), StringMatch(MatchType.PRESENCE)),
    not_namespaces=(StringMatch(MatchType.PREFIX, "kube-"),),
    service_accounts=(ServiceAccountMatch("apps", "reviews"),),
    not_service_accounts=(ServiceAccountMatch("apps", "ratings"),),
    principals=(StringMatch(MatchType.SUFFIX, "/sa/reviews"),),
    not_principals=(StringMatch(MatchType.EXACT, ""),),
    source_ips=(AddressMatch(b"\x0a\x00\x00\x00", 8),),
    not_source_ips=(AddressMatch(b"\x0a\x01\x02\x03", 32),),
    destination_ips=(AddressMatch(b"\xfd" + b"\0" * 15, 8),),
    not_destination_ips=(AddressMatch(b"\0" * 4, 0),),
    destination_ports=(80, 65535),
    not_destination_ports=(0,),
)
WHOLE = Authorization(
    name="allow-reviews",
    namespace="apps",
    scope=Scope.WORKLOAD_SELECTOR,
    action=Action.DENY,
    groups=(Group((Rule((MATCH, Match())), Rule())), Group()),
    dry_run=True,
)


def _with(**change: object) -> Authorization:
    match = Match(**change)  # type: ignore[arg-type]
    return replace(WHOLE, groups=(Group((Rule((match,)),)),))


def test_every_field_arrives() -> None:
    expected = authorization_pb2.Authorization(
        name="allow-reviews",
        namespace="apps",
        scope="WORKLOAD_SELECTOR",
        action="DENY",
        dry_run=True,
        groups=[
            {
                "rules": [
                    {
                        "matches": [
                            {
                                "namespaces": [{"exact": "apps"}, {"presence": {}}],
                                "not_namespaces": [{"prefix": "kube-"}],
                                "service_accounts": [
                                    {"namespace": "apps", "serviceAccount": "reviews"}
                                ],
                                "not_service_accounts": [
                                    {"namespace": "apps", "serviceAccount": "ratings"}
                                ],
                                "principals": [{"suffix": "/sa/reviews"}],
                                "not_principals": [{"exact": ""}],
                                "source_ips": [{"address": b"\x0a\0\0\0", "length": 8}],
                                "not_source_ips": [{"address": b"\x0a\x01\x02\x03", "length": 32}],
                                "destination_ips": [{"address": b"\xfd" + b"\0" * 15, "length": 8}],
                                "not_destination_ips": [{"address": b"\0\0\0\0", "length": 0}],
                                "destination_ports": [80, 65535],
                                "not_destination_ports": [0],
                            },
                            {},
                        ]
                    },
                    {},
                ]
            },
            {},
        ],
    )
    assert authorization_of(encode_authorization(WHOLE)) == expected


def test_no_field_of_a_match_is_left_out_of_the_whole_policy() -> None:
    assert [field.name for field in fields(MATCH) if not getattr(MATCH, field.name)] == []


@pytest.mark.proves("MSG-3", "MSG-4", "MSG-5")
def test_a_policy_is_named_as_workloads_list_it() -> None:
    resource = encode_authorization(WHOLE)
    read = unwrapped(resource.body)
    assert resource.name == read.name == "apps/allow-reviews"
    assert read.resource.type_url == AUTHORIZATION_TYPE
    listing = Workload(uid="u", name="n", namespace="apps", authorization_policies=(WHOLE.key,))
    assert list(workload_of(encode_workload(listing)).authorization_policies) == [resource.name]


@pytest.mark.refutes("MSG-3", "MSG-4")
@pytest.mark.parametrize("change", [{"name": ""}, {"namespace": ""}, {"name": "a/b"}])
def test_a_policy_whose_name_reads_in_two_ways_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(EncodeError, match=r"empty|slash"):
        encode_authorization(replace(WHOLE, **change))  # type: ignore[arg-type]


@pytest.mark.proves("MSG-8")
def test_a_policy_has_a_version_too() -> None:
    resource = encode_authorization(WHOLE)
    assert resource.version == encode_authorization(replace(WHOLE)).version
    assert len(resource.version) == 16


@pytest.mark.refutes("MSG-8")
def test_no_groups_one_empty_group_and_one_empty_rule_are_three_policies() -> None:
    shapes = ((), (Group(),), (Group((Rule(),)),), (Group((Rule((Match(),)),)),))
    versions = {encode_authorization(replace(WHOLE, groups=groups)).version for groups in shapes}
    assert len(versions) == len(shapes)


@pytest.mark.proves("MSG-16")
@pytest.mark.parametrize("kind", list(MatchType))
def test_a_string_comparison_always_has_its_kind(kind: MatchType) -> None:
    read = authorization_of(encode_authorization(_with(principals=(StringMatch(kind),))))
    (comparison,) = read.groups[0].rules[0].matches[0].principals
    assert comparison.WhichOneof("match_type") == kind.value


@pytest.mark.proves("MSG-17")
@pytest.mark.parametrize("field", ["source_ips", "not_source_ips", "destination_ips"])
@pytest.mark.parametrize(
    "block", [AddressMatch(b"", 0), AddressMatch(b"12345", 8), AddressMatch(b"1234", 33)]
)
def test_an_unreadable_block_refuses_the_policy(field: str, block: AddressMatch) -> None:
    good = AddressMatch(b"\x0a\0\0\0", 8)
    with pytest.raises(EncodeError, match=r"bytes|bits"):
        encode_authorization(_with(**{field: (good, block)}))


@pytest.mark.refutes("MSG-17")
def test_readable_blocks_are_kept_as_written() -> None:
    block = AddressMatch(b"\x0a\x01\x02\x03", 8)
    read = authorization_of(encode_authorization(_with(source_ips=(block,))))
    (kept,) = read.groups[0].rules[0].matches[0].source_ips
    assert (kept.address, kept.length) == (b"\x0a\x01\x02\x03", 8)


REFUSED = [
    pytest.param({"scope": 3}, "3 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"action": 2}, "2 is not", marks=pytest.mark.refutes("MSG-13")),
    pytest.param({"name": "\ud800"}, "surrogate", marks=pytest.mark.refutes("MSG-14")),
    pytest.param(
        {"groups": _with(destination_ports=(65536,)).groups},
        "port 65536",
        marks=pytest.mark.refutes("MSG-15"),
    ),
    pytest.param(
        {"groups": _with(principals=(StringMatch("regex", ".*"),)).groups},  # type: ignore[arg-type]
        "'regex' is not",
        marks=pytest.mark.refutes("MSG-16"),
    ),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_what_a_node_proxy_would_reject_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        encode_authorization(replace(WHOLE, **change))  # type: ignore[arg-type]
