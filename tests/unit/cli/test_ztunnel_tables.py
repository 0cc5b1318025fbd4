"""Dumps of node proxies as tables: ours, a ztunnel's own, and older forms."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.cli.errors import CommandError
from controlplane.cli.ztunnel_dump import Dump, Policy, Secret, Service, Workload
from controlplane.cli.ztunnel_tables import (
    Names,
    certificate_rows,
    policy_rows,
    service_rows,
    workload_rows,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEAF = {
    "serialNumber": "255",
    "validFrom": "2026-05-31T00:00:00Z",
    "expirationTime": "2026-06-02T00:00:00Z",
}
OLD = {
    "serialNumber": "16",
    "validFrom": "2016-05-31T00:00:00Z",
    "expirationTime": "2016-06-02T00:00:00Z",
}


def a_dump(**parts: Any) -> Dump:
    return Dump.read(json.dumps(parts).encode(), "dump.json")


def workloads(dump: Dump) -> list[tuple[str, ...]]:
    return workload_rows(dump.part("workloads", Workload), Names(dump.part("services", Service)))


def certificates(*secrets: dict[str, Any]) -> list[tuple[str, ...]]:
    return certificate_rows(a_dump(certificates=secrets).part("certificates", Secret), NOW)


def test_addresses_come_before_the_hostname_and_nothing_is_none() -> None:
    dump = a_dump(
        workloads=[
            {"name": "b", "namespace": "x", "workloadIps": ["10.0.0.1", "::1"], "hostname": "h"},
            {"name": "a", "namespace": "x", "workloadIps": [], "hostname": "h", "node": "n"},
            {"name": "z", "namespace": "w", "workloadIps": None, "protocol": "HBONE"},
        ]
    )
    assert workloads(dump) == [
        ("w", "z", "None", "None", "None", "HBONE"),
        ("x", "a", "h", "n", "None", "NA"),
        ("x", "b", "10.0.0.1,::1", "None", "None", "NA"),
    ]


@pytest.mark.parametrize(
    ("destination", "shown"),
    [("x/way.x.svc", "way"), ("net/10.9.0.1", "way"), ("x/other.x.svc", "NA"), ("", "NA")],
)
def test_a_waypoint_is_called_as_its_service(destination: str, shown: str) -> None:
    dump = a_dump(
        workloads=[{"name": "a", "waypoint": {"destination": destination, "port": 15008}}],
        services=[
            {"name": "way", "namespace": "x", "hostname": "way.x.svc", "vips": ["net/10.9.0.1"]}
        ],
    )
    assert [row[4] for row in workloads(dump)] == [shown]


def test_endpoints_are_healthy_ones_of_all() -> None:
    dump = a_dump(
        workloads=[{"uid": "1", "status": "Healthy"}, {"uid": "2", "status": "Unhealthy"}],
        services=[
            {
                "name": "a",
                "namespace": "x",
                "vips": ["/10.0.0.1"],
                "cidrVips": ["net/10.1.0.0/16"],
                "endpoints": {str(n): {"workloadUid": str(n)} for n in (1, 2, 3)},
            },
            {
                "name": "b",
                "namespace": "x",
                "addresses": ["net/10.0.0.2"],
                "endpoints": [{"workloadUid": "9", "status": "Healthy"}],
            },
            {"name": "c", "namespace": "a", "vips": None, "endpoints": None},
        ],
    )
    statuses = {each.uid: each.status or "" for each in dump.part("workloads", Workload)}
    services = dump.part("services", Service)
    assert service_rows(services, statuses, Names(services)) == [
        ("a", "c", "None", "None", "0/0"),
        ("x", "a", "10.0.0.1,10.1.0.0/16", "None", "1/3"),
        ("x", "b", "10.0.0.2", "None", "1/1"),
    ]


def test_older_forms_are_maps() -> None:
    dump = a_dump(
        workloads={"/10.0.0.1": {"name": "a", "namespace": "x"}},
        services={"x": {"a.x.svc": {"name": "a", "namespace": "x"}}},
        policies={"x/p": {"name": "p", "namespace": "x", "action": "Deny", "scope": "Global"}},
    )
    assert [row[1] for row in workloads(dump)] == ["a"]
    assert [each.name for each in dump.part("services", Service)] == ["a"]
    assert policy_rows(dump.part("policies", Policy)) == [("x", "p", "Deny", "Global")]


def test_a_chain_ends_with_its_root_in_either_form() -> None:
    named = {"identity": "spiffe://d/ns/a/sa/b", "state": "Available"}
    split = certificates({**named, "certChain": [LEAF, OLD], "rootCerts": [OLD]})
    assert [row[1] for row in split] == ["Leaf", "Intermediate", "Root"]
    whole = certificates({**named, "certChain": [LEAF, LEAF, OLD]})
    assert [row[1] for row in whole] == ["Leaf", "Intermediate", "Root"]
    assert whole[0] == (
        "spiffe://d/ns/a/sa/b",
        "Leaf",
        "Available",
        "true",
        "ff",
        "2026-06-02T00:00:00Z",
        "2026-05-31T00:00:00Z",
    )
    assert whole[2][3:5] == ("false", "10")


@pytest.mark.parametrize(
    "state", ["Unavailable", 'Unavailable("no")', {"Unavailable": "no"}], ids=str
)
def test_an_identity_without_certificates_is_a_row(state: Any) -> None:
    (row,) = certificates({"identity": "spiffe://d/ns/a/sa/b", "state": state})
    assert row == ("spiffe://d/ns/a/sa/b", "NA", "Unavailable", "false", "NA", "NA", "NA")


@pytest.mark.parametrize("time", ["", "soon", "2026-06-02T00:00:00"])
def test_what_cannot_be_read_as_a_time_is_not_valid(time: str) -> None:
    (row,) = certificates({"identity": "i", "certChain": [{**LEAF, "expirationTime": time}]})
    assert row[3] == "false"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"nonsense", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no dump"),
        (b'{"other": 1}', "is no dump"),
        (b'{"workloads": 3}', "neither a list nor a map"),
        (b'{"workloads": [{"name": 3}]}', "a workload of another shape"),
        (b'{"workloads": [null]}', "a workload of another shape"),
        (b'{"workloads": {"a": 3}}', "a workload of another shape"),
    ],
)
def test_what_is_no_dump_is_refused_in_a_sentence(text: bytes, said: str) -> None:
    with pytest.raises(CommandError, match=f"^dump.json.*{said}"):
        Dump.read(text, "dump.json").part("workloads", Workload)
