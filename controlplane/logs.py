"""Structured logs: one event name and its facts per line.

In: the level and format settings. Out: ``structlog.get_logger()`` works everywhere at the edges;
model, dataflow, mesh and encode never log.
"""

import logging
import sys
from typing import Final, Literal, get_args

import structlog

Level = Literal["debug", "info", "warning", "error"]
"""The levels, most talkative first."""

_LEVELS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES: Final[tuple[Level, ...]] = get_args(Level)

_log = structlog.get_logger()


def configure_logs(*, level: str, style: str) -> None:
    """Send logs to standard error.

    Args:
        level: debug, info, warning or error.
        style: json, console, or auto (console on a terminal, JSON elsewhere).
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class LogLevel:
    """The level of this process's logs, for whoever changes it while the process runs."""

    @property
    def current(self) -> Level:
        """Return the level; ``debug`` where nobody has set one."""
        number = structlog.get_logger().bind().get_effective_level()
        return next((name for name in _NAMES if _LEVELS[name] >= number), _NAMES[-1])

    def change(self, wanted: Level, *, by: str) -> None:
        """Log from ``wanted`` on from now; ``by`` says who wants it.

        The event of the change is written while the more talkative of the two levels is in force,
        so that there is always a line that says why others are missing.
        """
        before = self.current
        if wanted == before:
            return
        talkative = min(wanted, before, key=_NAMES.index)
        _set(talkative)
        level = getattr(_log, max(talkative, "info", key=_NAMES.index))
        level("log-level.changed", wanted=wanted, before=before, by=by)
        _set(wanted)


def _set(level: Level) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]))
