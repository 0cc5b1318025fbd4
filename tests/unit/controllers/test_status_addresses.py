from typing import Any

import pytest

from controlplane.controllers.status_addresses import addresses_in, patch_of
from controlplane.manifests.istio import AllocatedAddress

METADATA = {"name": "a", "resourceVersion": "7"}
WANTED = (AllocatedAddress("10.0.0.1", "a.example"),)
TOLD = [{"value": "10.0.0.1", "host": "a.example"}]
UNCHANGED = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}


@pytest.mark.parametrize(
    "status", [None, "text", {}, {"addresses": None}, {"addresses": 3}, {"addresses": ["x"]}]
)
def test_a_status_without_usable_addresses_says_nothing(status: Any) -> None:
    assert addresses_in({"metadata": METADATA, "status": status}) == ()
    assert addresses_in({"metadata": METADATA}) == ()


def test_addresses_are_read_as_manifests_are() -> None:
    given = [{"value": "10.0.0.1", "host": "a.example", "more": 1}, None, {"value": None}]
    assert addresses_in({"metadata": METADATA, "status": {"addresses": given}}) == (
        *WANTED,
        AllocatedAddress("", ""),
    )


@pytest.mark.proves("AL-9")
@pytest.mark.parametrize(
    ("live", "operations"),
    [
        ({}, [UNCHANGED, {"op": "add", "path": "/status", "value": {"addresses": TOLD}}]),
        (
            {"status": None},
            [UNCHANGED, {"op": "add", "path": "/status", "value": {"addresses": TOLD}}],
        ),
        (
            {"status": {"conditions": []}},
            [UNCHANGED, {"op": "add", "path": "/status/addresses", "value": TOLD}],
        ),
        (
            {"status": {"addresses": [{"odd": True}]}},
            [
                UNCHANGED,
                {"op": "test", "path": "/status/addresses", "value": [{"odd": True}]},
                {"op": "replace", "path": "/status/addresses", "value": TOLD},
            ],
        ),
    ],
)
def test_a_patch_tests_what_was_seen(live: Any, operations: list[dict[str, Any]]) -> None:
    assert patch_of({"metadata": METADATA, **live}, WANTED) == operations
