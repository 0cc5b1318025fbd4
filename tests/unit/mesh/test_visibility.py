import pytest

from controlplane.manifests.mesh_config import ServiceEntryVisibility, VisibilityPolicy
from controlplane.mesh.visibility import EntryVisibility, entry_visibility
from controlplane.model.labels import LabelSelector, Requirement

TEAM_A = LabelSelector(labels=(("team", "a"),))
HAS_TEAM = LabelSelector(requirements=(Requirement(key="team", operator="Exists"),))


@pytest.mark.proves("SV-30", "SV-32")
@pytest.mark.refutes("SV-30", "SV-32")
def test_the_first_policy_that_matches_decides() -> None:
    configuration = ServiceEntryVisibility(
        default="PUBLIC",
        policies=(
            VisibilityPolicy(visibility="NONE", selectors=(TEAM_A, HAS_TEAM)),
            VisibilityPolicy(visibility="NAMESPACE", selectors=(HAS_TEAM,)),
        ),
    )
    assert entry_visibility({"team": "a"}, configuration) is EntryVisibility.HIDDEN
    assert entry_visibility({"team": "b"}, configuration) is EntryVisibility.NAMESPACE
    assert entry_visibility({}, configuration) is EntryVisibility.PUBLIC


@pytest.mark.proves("SV-30")
def test_a_policy_without_selectors_matches_everything() -> None:
    policies = (
        VisibilityPolicy(visibility="NAMESPACE"),
        VisibilityPolicy(visibility="NONE"),
    )
    configuration = ServiceEntryVisibility(default="NONE", policies=policies)
    assert entry_visibility({}, configuration) is EntryVisibility.NAMESPACE


@pytest.mark.refutes("SV-30", "SV-32")
def test_nothing_configured_or_unspecified_is_public() -> None:
    assert entry_visibility({}, None) is EntryVisibility.PUBLIC
    for unspecified in ("UNSPECIFIED", "", "PUBLIC"):
        configuration = ServiceEntryVisibility(default=unspecified)
        assert entry_visibility({}, configuration) is EntryVisibility.PUBLIC


@pytest.mark.proves("SV-31")
@pytest.mark.refutes("SV-31")
def test_an_unknown_matcher_never_matches() -> None:
    for unknown, expected in (
        (True, EntryVisibility.HIDDEN),
        (False, EntryVisibility.NAMESPACE),
    ):
        policy = VisibilityPolicy(visibility="NAMESPACE", unknown_matcher=unknown)
        configuration = ServiceEntryVisibility(default="NONE", policies=(policy,))
        assert entry_visibility({}, configuration) is expected
