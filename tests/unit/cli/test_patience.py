import io
import time

import pytest

from controlplane.cli.patience import Patience


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, after: float) -> str:
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Patience("Asking the server", after=after).waiting():
        deadline = time.monotonic() + 5
        while not terminal.getvalue() and after == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    return terminal.getvalue()


def test_on_a_terminal_it_shows_that_something_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Asking the server" in shown(Terminal(), monkeypatch, after=0)


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Terminal(), monkeypatch, after=60) == ""


def test_in_a_pipe_it_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough for a thread to start, had there been one.
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    with Patience("Asking the server", after=0).waiting():
        time.sleep(0.05)
    assert pipe.getvalue() == ""
