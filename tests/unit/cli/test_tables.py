from controlplane.cli.tables import aligned


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned(("A", "NAME"), [("long cell", "x"), ("", "y")]) == (
        "A           NAME\nlong cell   x\n            y"
    )


def test_a_row_is_always_one_line() -> None:
    assert aligned(("A",), [("one\ntwo",)]) == "A\none two"
