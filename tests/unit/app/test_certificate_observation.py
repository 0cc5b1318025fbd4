from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest

from controlplane.app.certificate_observation import (
    CertificateObservation,
    ReviewObservation,
    StandingObservation,
)
from controlplane.ca.authorities import Standing
from controlplane.ca.errors import (
    ImpersonationDeniedError,
    LifetimeError,
    SigningRequestError,
    UnavailableError,
    UnboundCredentialsError,
    reply_for,
)
from controlplane.ca.rotation import Decision
from controlplane.ca.rotation_gates import Gate
from controlplane.metrics import Metrics
from tests.support.authorities import a_snapshot
from tests.support.dataflow_time import VirtualClock


def text_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_requests_are_counted_under_the_names_dashboards_know() -> None:
    metrics = Metrics("1")
    observation = CertificateObservation(metrics)
    observation.requested()
    observation.issued(0.01, "P-256")
    observation.signed(0.001)
    observation.names_differed()
    text = text_of(metrics)
    assert "\ncitadel_server_csr_count 1.0" in text
    assert "\ncitadel_server_success_cert_issuance_count 1.0" in text
    assert 'istiod_lite_ca_issue_seconds_count{key_type="P-256"} 1.0' in text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SigningRequestError("x", reason_code="csr-names"), "citadel_server_csr_parsing_err_count"),
        (
            LifetimeError("x", reason_code="lifetime-above-maximum"),
            'citadel_server_csr_sign_err_count{error="TTL_ERROR"}',
        ),
        (
            UnavailableError("x", reason_code="signer-unfit"),
            'citadel_server_csr_sign_err_count{error="CA_NOT_READY"}',
        ),
        (
            ImpersonationDeniedError("identity-not-on-node"),
            'istiod_lite_ca_impersonation_denied_total{reason="identity-not-on-node"}',
        ),
        (UnboundCredentialsError("x"), "citadel_server_id_extraction_err_count"),
    ],
)
def test_refusals_are_counted_by_what_failed(error: Exception, line: str) -> None:
    metrics = Metrics("1")
    assert f"\n{line} 1.0" not in text_of(metrics)
    CertificateObservation(metrics).refused(reply_for(error))
    assert f"\n{line} 1.0" in text_of(metrics)


def test_reviews_are_timed_and_the_cache_is_counted() -> None:
    metrics = Metrics("1")
    observation = ReviewObservation(metrics)
    observation.remembered(hit=True)
    observation.reviewed("accepted", 0.2)
    text = text_of(metrics)
    assert 'istiod_lite_ca_tokenreview_cache_total{hit="true"} 1.0' in text
    assert 'istiod_lite_ca_tokenreview_seconds_count{result="accepted"} 1.0' in text


async def test_gates_are_timed_while_they_are_shut() -> None:
    metrics, clock = Metrics("1"), VirtualClock()
    observation = StandingObservation(metrics.certificates, clock)
    observation.signs(a_snapshot(now=datetime(2026, 1, 1, tzinfo=UTC), life=timedelta(days=1)))
    shut = Standing(kept=None, decision=Decision(gates=(Gate(name="replicas", waits_for="r2"),)))
    observation.stands(shut)
    await clock.advance(60)
    observation.stands(shut)
    text = text_of(metrics)
    assert 'istiod_lite_ca_rotation_blocked_seconds{reason="replicas"} 60.0' in text
    assert "\ncitadel_server_cert_chain_expiry_seconds 82800.0" in text
    observation.stands(Standing(kept=None, decision=Decision()))
    assert 'reason="replicas"' not in text_of(metrics)
