import pytest

from controlplane.mesh.authorization_values import (
    address_match,
    port_match,
    service_account_match,
    string_match,
)
from controlplane.model.policy import AddressMatch, MatchType, ServiceAccountMatch, StringMatch


@pytest.mark.proves("AP-9")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", StringMatch(MatchType.PRESENCE)),
        ("*/sa/a", StringMatch(MatchType.SUFFIX, "/sa/a")),
        ("**", StringMatch(MatchType.SUFFIX, "*")),
        ("*a*", StringMatch(MatchType.SUFFIX, "a*")),
        ("td/*", StringMatch(MatchType.PREFIX, "td/")),
        ("td/ns/a/sa/b", StringMatch(MatchType.EXACT, "td/ns/a/sa/b")),
        ("a*b", StringMatch(MatchType.EXACT, "a*b")),
    ],
)
def test_text_is_compared_by_where_its_star_stands(text: str, expected: StringMatch) -> None:
    assert string_match(text, "default") == expected


@pytest.mark.refutes("AP-9")
def test_empty_text_compares_with_nothing() -> None:
    assert string_match("", "default") is None


@pytest.mark.proves("AP-10")
def test_an_account_is_of_the_namespace_written_or_of_the_policy() -> None:
    assert service_account_match("other/a", "default") == ServiceAccountMatch("other", "a")
    assert service_account_match("a", "default") == ServiceAccountMatch("default", "a")


@pytest.mark.refutes("AP-10")
@pytest.mark.parametrize("text", ["", "/", "a/", "/a", "a/b/c", "*", "other/*"])
def test_what_names_no_single_account_is_not_usable(text: str) -> None:
    assert service_account_match(text, "default") is None


@pytest.mark.proves("AP-8")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", AddressMatch(bytes([10, 0, 0, 1]), 32)),
        ("10.0.0.1/8", AddressMatch(bytes([10, 0, 0, 1]), 8)),
        ("::1", AddressMatch(bytes(15) + b"\1", 128)),
        ("::/0", AddressMatch(bytes(16), 0)),
    ],
)
def test_a_block_keeps_its_base(text: str, expected: AddressMatch) -> None:
    assert address_match(text, "default") == expected


@pytest.mark.refutes("AP-8")
@pytest.mark.parametrize("text", ["", "garbage", "10.0.0.1/33", "10.0.0", "::1%lo", "10.0.0.0/ 8"])
def test_what_is_no_address_is_not_usable(text: str) -> None:
    assert address_match(text, "default") is None


@pytest.mark.proves("AP-11")
@pytest.mark.parametrize(
    ("text", "port"), [("1", 1), ("8080", 8080), ("0080", 80), ("65535", 65535)]
)
def test_a_port_is_decimal(text: str, port: int) -> None:
    assert port_match(text, "default") == port


@pytest.mark.refutes("AP-11")
@pytest.mark.parametrize(
    "text", ["", "0", "00", "65536", "-1", "+80", " 80", "http", "٨٠", "9" * 9999]
)
def test_what_is_no_port_is_not_usable(text: str) -> None:
    assert port_match(text, "default") is None
