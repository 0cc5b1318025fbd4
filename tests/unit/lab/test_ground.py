"""Labs that run at the same time have different addresses."""

import pytest

from controlplane.lab.errors import LabError
from controlplane.lab.ground import claimed_ground


def test_two_labs_have_nothing_in_common() -> None:
    with claimed_ground() as one, claimed_ground() as other:
        assert one.pods != other.pods
        assert one.applications != other.applications


def test_what_is_let_go_of_may_be_claimed_again() -> None:
    # The first free one, again and again: more times than there are ranges.
    for _ in range(40):
        with claimed_ground():
            pass


def test_whoever_finds_none_is_told() -> None:
    with pytest.raises(LabError, match="no range of loopback"), claimed_ground(most=0):
        pass
