"""Unquoted YAML scalars."""

import math

import pytest

from controlplane.manifests.read_scalars import resolve


@pytest.mark.proves("MF-5")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("On", True), ("true", True), ("NO", False),
        ("off", False), ("", None), ("~", None), ("null", None), ("0", 0), ("-7", -7),
        ("010", 8), ("0o17", 15), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("+3", 3),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-1.", -1.0), ("09", 9.0), (".inf", math.inf),
    ],
)  # fmt: skip
def test_scalars_that_are_not_text(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.refutes("MF-5")
@pytest.mark.parametrize(
    "text",
    [
        "Y es", "y", "n", "Y", "N", "yEs", "tRue",
        "2024-01-01T00:00:00Z", "2024-01-01", "1:30", "10.0.0.1", "1.2.3",
        "0x", "-", "+", ".", "1e", "v1", "==", "9" * 65, "--1",
    ],
)  # fmt: skip
def test_scalars_that_are_text(text: str) -> None:
    assert resolve(text) == text


def test_not_a_number_is_a_float() -> None:
    value = resolve(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)
