"""The story on a terminal."""

import pytest
from rich.console import Console

from controlplane.cli.story_view import show_places, show_step, show_summary
from controlplane.lab.story.told import Told


def _told(*, met: bool = True) -> Told:
    told = Told(number=3, title="A [title]", says="What there is to understand. " * 6)
    told.done.append("kubectl apply -f policy.yaml")
    told.manifest += ["AuthorizationPolicy web", "  action: ALLOW"]
    told.sent.append("node-1: policies shop/web")
    told.saw("sleep is answered 200", "spiffe://cluster.local/ns/shop/sa/sleep " * 4, met=met)
    told.seconds = 0.25
    return told


def _shown(told: Told, width: int) -> list[str]:
    console = Console(width=width, record=True, highlight=False, quiet=False, force_terminal=False)
    with console.capture() as captured:
        show_step(told, console)
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_line_fits(width: int) -> None:
    lines = _shown(_told(), width)
    assert max(len(line) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    for part in ("$ kubectl apply", "AuthorizationPolicy web", "sent node-1: policies shop/web"):
        assert part in text
    assert text.endswith("pass 0.2 s")


def test_what_was_not_so_is_told_as_such() -> None:
    text = " ".join(" ".join(_shown(_told(met=False), 100)).split())
    assert "NO sleep is answered 200" in text
    assert text.endswith("FAIL 0.2 s")


def test_a_title_may_have_brackets() -> None:
    assert "3. A [title]" in _shown(_told(), 80)


def test_a_skipped_step_says_why_and_no_more() -> None:
    told = Told(number=5, title="Five", says="It is so.", skipped="there is no Envoy")
    assert [line.strip() for line in _shown(told, 80)] == [
        "",
        "5. Five",
        "It is so.",
        "skip  there is no Envoy",
    ]


def test_the_summary_has_a_verdict_for_each_step() -> None:
    console = Console(width=80)
    steps = [_told(), _told(met=False), Told(number=5, title="Five", skipped="none")]
    with console.capture() as captured:
        show_summary(steps, console)
    rows = [line.split() for line in captured.get().splitlines() if line.strip()][1:]
    assert [row[-2] for row in rows] == ["pass", "FAIL", "skipped"]


def test_commands_can_be_copied_whatever_the_width() -> None:
    command = "curl -x socks5h://127.64.36.74:1080 http://reviews.bookinfo:9080/"
    console = Console(width=40)
    with console.capture() as captured:
        show_places([("call as sleep", command)], console)
    assert f"      {command}" in captured.get().splitlines()
