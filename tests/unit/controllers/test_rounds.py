from controlplane.controllers.rounds import Rounds
from tests.support.authority_stores import ToldClock
from tests.support.cluster_statuses import Lead


def test_a_round_begins_with_the_lead_and_then_now_and_then() -> None:
    clock, lead, ready = ToldClock(), Lead(0.0), [False]
    rounds = Rounds(lead=lead, clock=clock, is_ready=lambda: ready[0], every=60.0)
    assert (rounds.is_due(), rounds.is_begun) == (False, False)
    lead.seconds_left = 5.0
    assert (rounds.is_due(), rounds.is_begun) == (False, False)
    ready[0] = True
    assert not rounds.is_begun
    assert (rounds.is_due(), rounds.is_begun) == (True, True)
    clock.advance(seconds=59)
    assert not rounds.is_due()
    clock.advance(seconds=1)
    assert (rounds.is_due(), rounds.is_due()) == (True, False)
    rounds.start_over()
    assert rounds.is_due()
    lead.seconds_left = 0.0
    assert (rounds.is_begun, rounds.is_due()) == (False, False)
    lead.seconds_left = 5.0
    assert (rounds.is_begun, rounds.is_due()) == (False, True)
