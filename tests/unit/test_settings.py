"""Settings that nothing starts with."""

import pytest

from controlplane.settings import Settings

LAYERED = "ENABLE_LAYERED_WAYPOINT_AUTHORIZATION_POLICIES"


@pytest.mark.proves("HP-29")
@pytest.mark.parametrize("value", ["true", "1"])
def test_nothing_starts_with_policies_that_would_not_be_enforced(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(LAYERED, value)
    with pytest.raises(ValueError, match="waypoints do not enforce policies without targetRefs"):
        Settings()


@pytest.mark.refutes("HP-29")
@pytest.mark.parametrize("value", ["false", "0"])
def test_saying_that_they_are_not_wanted_is_fine(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(LAYERED, value)
    assert not Settings().layers_waypoint_policies
