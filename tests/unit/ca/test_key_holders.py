import pytest

from controlplane.ca.key_holders import KeyHolders


@pytest.mark.proves("CA-33")
def test_a_key_that_moved() -> None:
    holders = KeyHolders()
    assert holders.hold("key", "node-a") == ""
    assert holders.hold("key", "node-b") == "node-a"


@pytest.mark.refutes("CA-33")
def test_a_key_that_stayed_and_one_that_is_new() -> None:
    holders = KeyHolders()
    holders.hold("key", "node-a")
    assert holders.hold("key", "node-a") == ""
    assert holders.hold("other", "node-b") == ""


def test_memory_is_bounded() -> None:
    holders = KeyHolders(capacity=2)
    for key in ("one", "two", "three"):
        holders.hold(key, "node-a")
    assert holders.hold("one", "node-b") == ""
    assert holders.hold("three", "node-b") == "node-a"
