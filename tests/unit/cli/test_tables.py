import pytest

from controlplane.cli.tables import aligned, one_line, print_table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned(("A", "NAME"), [("long cell", "x"), ("", "y")]) == (
        "A           NAME\nlong cell   x\n            y"
    )


def test_a_row_is_always_one_line() -> None:
    assert aligned(("A",), [("one\ntwo",)]) == "A\none two"


def test_the_gap_is_what_the_command_wants() -> None:
    assert aligned(("A", "B"), [("1", "2")], gap=1) == "A B\n1 2"


def test_nothing_that_steers_a_terminal_comes_through() -> None:
    assert one_line("red \x1b[31m \u202e\x00 é 猫") == r"red \x1b[31m \u202e\x00 é 猫"


def test_away_from_terminals_tables_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "STATE"), [("[bold]a[/]", "ERROR (3s)")], gap=1, title="PROXIES")
    assert capsys.readouterr().out == (
        "------ PROXIES ------\nNAME       STATE\n[bold]a[/] ERROR (3s)\n"
    )


def test_on_a_terminal_states_have_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(("NAME", "STATE"), [("[bold]a[/]", "ERROR (3s)")])
    shown = capsys.readouterr().out
    assert "\x1b[1;31mERROR (3s)" in shown
    assert "[bold]a[/]" in shown
