"""The level of logs while a process runs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from controlplane.logs import Level, LogLevel, configure_logs

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_the_one_that_was_set(level: Level) -> None:
    configure_logs(level=level, style="json")
    assert LogLevel().current == level


def test_a_change_takes_effect_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", style="json")
    bound_before = structlog.get_logger()
    log.debug("unheard")
    LogLevel().change("debug", by="somebody")
    bound_before.debug("heard")
    LogLevel().change("error", by="somebody")
    log.warning("unheard")
    log.error("heard")
    assert [each["event"] for each in events(capsys)] == [
        "log-level.changed",
        "heard",
        "log-level.changed",
        "heard",
    ]


@pytest.mark.parametrize(
    ("before", "wanted", "told_at"),
    [
        ("info", "debug", "info"),
        ("debug", "error", "info"),
        ("error", "info", "info"),
        ("error", "warning", "warning"),
        ("warning", "error", "warning"),
    ],
)
def test_every_change_leaves_a_line(
    before: Level, wanted: Level, told_at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level=before, style="json")
    LogLevel().change(wanted, by="somebody")
    (told,) = events(capsys)
    del told["timestamp"]
    assert told == {
        "event": "log-level.changed",
        "level": told_at,
        "wanted": wanted,
        "before": before,
        "by": "somebody",
    }


def test_no_change_is_no_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", style="json")
    LogLevel().change("info", by="somebody")
    assert events(capsys) == []
