"""Connections as tools of the field read them."""

import json
import typing
from dataclasses import replace
from datetime import timedelta

import pytest
from envoy.service.status.v3 import csds_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from controlplane.insight.client_config import client_config, control_plane_identifier
from controlplane.model.connection import Connection, TypeProgress
from tests.unit.insight.test_sync import BEHIND, NOW, REFUSED, SYNCED, UNSENT, a_connection


def read(connection: Connection) -> dict[str, typing.Any]:
    packed = Any.FromString(client_config(connection, NOW))
    assert packed.type_url == "type.googleapis.com/envoy.service.status.v3.ClientConfig"
    config = csds_pb2.ClientConfig()
    assert packed.Unpack(config)
    found: dict[str, typing.Any] = MessageToDict(config, preserving_proto_field_name=True)
    return found


def entry(progress: TypeProgress) -> dict[str, object]:
    entries: list[dict[str, object]] = read(a_connection(progress))["generic_xds_configs"]
    assert len(entries) == 1
    return entries[0]


@pytest.mark.proves("FL-23")
def test_a_connection_is_named_by_its_pod() -> None:
    connection = replace(a_connection(SYNCED), cluster="c", version="1.30.0")
    assert read(connection) == {
        "node": {
            "id": "a.b",
            "metadata": {
                "CLUSTER_ID": "c",
                "ISTIO_VERSION": "1.30.0",
                "NAMESPACE": "b",
                "NODE_NAME": "n",
            },
        },
        "generic_xds_configs": [
            {
                "type_url": "t",
                "version_info": "5",
                "config_status": "SYNCED",
                "last_updated": "2026-01-01T11:59:30Z",
            }
        ],
    }


@pytest.mark.refutes("FL-23")
def test_a_connection_that_asked_for_nothing_has_no_entries() -> None:
    assert "generic_xds_configs" not in read(a_connection())


@pytest.mark.proves("FL-24")
def test_every_verdict_has_its_status() -> None:
    assert entry(BEHIND)["config_status"] == "STALE"
    assert entry(BEHIND)["last_updated"] == "2026-01-01T11:59:56Z"
    assert entry(UNSENT)["config_status"] == "NOT_SENT"
    assert entry(REFUSED)["config_status"] == "ERROR"


@pytest.mark.refutes("FL-24", "FL-25")
def test_what_is_not_known_is_missing() -> None:
    assert "last_updated" not in entry(UNSENT)
    assert "config_status" not in entry(replace(SYNCED, is_served=False))  # UNKNOWN is the default
    assert "error_state" not in entry(SYNCED)


@pytest.mark.proves("FL-25")
def test_a_refusal_is_told_in_the_clients_words() -> None:
    assert entry(REFUSED)["error_state"] == {
        "details": "ns/p: bad",
        "last_update_attempt": "2026-01-01T11:59:58Z",
    }
    assert NOW - timedelta(seconds=2) == REFUSED.last_error_at


def test_the_same_connection_is_the_same_bytes() -> None:
    connection = a_connection(SYNCED, REFUSED)
    assert client_config(connection, NOW) == client_config(connection, NOW)


def test_who_made_a_response() -> None:
    assert json.loads(control_plane_identifier("istiod-1", "0.1.0")) == {
        "Component": "istiod",
        "ID": "istiod-1",
        "Info": {"version": "0.1.0"},
    }
