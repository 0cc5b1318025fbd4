"""Regular expressions: what Envoy takes, what it might not, and what a real one says to both."""

from pathlib import Path

import pytest

from controlplane.model.regular_expression import expression_fault
from tests.support.envoy_validation import validate_bootstrap
from tests.support.http_routes import routes_bootstrap

TAKEN = (
    *("a", "/a/[^/]+", ".*", "^a$", "a|b", "(a|b)*c?", "(?:a)+?", "(?P<name>a)", "(?<name>a)"),
    *(
        "(?i)a",
        "(?i-s:a)",
        "a{2}",
        "a{2,}",
        "a{2,5}?",
        "a{0}",
        "a{",
        "{,3}",
        "a{b}",
        "a{1",
        "]",
        "}",
    ),
    *(r"\d\D\w\W\s\S", r"\b\B\A\z", r"\.\-\/\[", r"\x41\x{e9}", r"\n\t\r\f\a\v", r"\pL\p{^Lu}\PN"),
    *("[a-z]", "[^a-z]", "[]a]", "[^]]", "[-a]", "[a-]", "[[:alpha:][:^digit:]]", r"[\d\-z]"),
    *(r"[\x41-\x5A]", "[a&&b]", "é+", "[é]", "()", "(|a)", "(?:a{500}){2}", "[^/]{0,255}"),
    *("(?:[^/]{0,9}/){0,9}", "a" * 1024, "(" * 190 + "a" + ")" * 190, "|", "a||b"),
)
REFUSED = (
    *("", "(", ")", "a)", "[", "[a", "[^", "\\", "*", "+a", "?", "{2}", "a|*", "(*)", "^*" + "*"),
    *(
        "a**",
        "a+*",
        "a{2}{3}",
        "a{2}*",
        "a*{2}",
        "a{1001}",
        "a{3,2}",
        "(?:a{500}){3}",
        "x{1000}{2}",
    ),
    *(
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?P=a)",
        "(?P<1>a)",
        "(?P<a>x)(?P<a>y)",
        "(?#a)",
        "(?)",
        "(?x)a",
    ),
    *("(?i)*", "(?i){2}", r"\1", r"\k<a>", r"\Z", r"\h", r"\Q", r"\é", r"\_" + "x\\", r"\x4"),
    *(r"\x{100}", r"\x{10FFFF}", r"\x{D800}", r"\p{Foo}", r"\pX", "[z-a]", r"[a-\d]", "[[:foo:]]"),
    *(r"[\b]", "[a--", "a\nb", "\x7f", "\0", "\ud800", "a" * 1025, r"\pL{1000}", "[^a]{999}"),
    *("(" * 300 + "a" + ")" * 300, "(?:[^/]{0,64}/){0,15}"),
)


@pytest.mark.proves("EH-3")
@pytest.mark.parametrize("text", REFUSED)
def test_what_envoy_might_not_take_is_refused(text: str) -> None:
    assert expression_fault(text)


@pytest.mark.refutes("EH-3")
def test_what_is_taken_envoy_takes(tmp_path: Path) -> None:
    assert [text for text in TAKEN if expression_fault(text)] == []
    routes = [
        {"match": {"safe_regex": {"regex": text}}, "direct_response": {"status": 200}}
        for text in TAKEN
    ]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    assert validate_bootstrap(routes_bootstrap([{"virtual_hosts": hosts}]), tmp_path) is None
