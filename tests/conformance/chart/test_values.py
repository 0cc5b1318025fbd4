"""The schema of the values takes what is documented and nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support.chart import CASES, CHART, cases, with_defaults

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
BY_HELM = {"global"}


def faults(values: Any) -> list[str]:
    return [each.message for each in Draft7Validator(SCHEMA).iter_errors(with_defaults(values))]


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict) and "properties" in schema:
        yield path, schema
        for name, below in schema["properties"].items():
            yield from objects(below, f"{path}.{name}".lstrip("."))


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("case", cases())
def test_a_set_of_values_is_taken(case: str) -> None:
    assert faults(yaml.safe_load((CASES / "values" / f"{case}.yaml").read_text())) == []


@pytest.mark.parametrize("path", sorted((CASES / "refused").glob("*.yaml")), ids=lambda p: p.stem)
def test_what_the_templates_refuse_is_no_business_of_the_schema(path: Any) -> None:
    assert faults(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    "values",
    [
        {"unknown": 1},
        {"image": {"unknown": 1}},
        {"database": {"sqlite": {"persistence": {"unknown": 1}}}},
        {"revision": "default"},
        {"revision": "Not-A-Label"},
        {"replicas": 0},
        {"replicas": "2"},
        {"image": {"digest": "sha256:short"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"database": {"type": "mysql"}},
        {"ledger": {"mode": "fast"}},
        {"authority": {"keyType": "P-521"}},
        {"authority": {"trustedNodeAccounts": ["ztunnel"]}},
        {"authority": {"tokenAudiences": []}},
        {"authority": {"cacertsSecret": ""}},
        {"webhook": {"timeoutSeconds": 31}},
        {"logs": {"level": "verbose"}},
        {"env": {"lower-case": "x"}},
        {"env": {"LIST": [1]}},
        {"waypoints": {"resources": {"limits": {"gpu": 1}}}},
        {"serviceEntryAddresses": {"ipv4Range": "240.240.0.0"}},
    ],
    ids=str,
)
def test_a_value_that_means_nothing_is_refused(values: Any) -> None:
    assert faults(values)


def test_every_object_of_the_schema_is_closed_and_is_in_the_values() -> None:
    for path, schema in objects(SCHEMA):
        assert schema.get("additionalProperties") is False, path
        held: Any = VALUES
        for name in filter(None, path.split(".")):
            held = held[name]
        expected = schema["properties"].keys() - BY_HELM
        optional = {"claims"} if path == "resources" else set()
        assert set(held) == expected - optional, path


def test_defaults_are_laid_under_values_by_field() -> None:
    found = with_defaults({"image": {"tag": "other"}})
    assert found["image"]["tag"] == "other"
    assert found["image"]["repository"]


def test_every_refusal_says_what_is_expected() -> None:
    refused = sorted((CASES / "refused").glob("*.yaml"))
    assert refused
    assert all(path.read_text().startswith("# expected: ") for path in refused)
