"""How often requests are tried again: what a rule says comes in, Envoy's policy goes out.

docs/protocol/http-route-config.md EH-19; docs/protocol/waypoint-config.md WC-33.
"""

from datetime import timedelta
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from controlplane.encode.http_route_values import duration
from controlplane.encode.typed import packed
from controlplane.model.http_route import Retry

RETRY_ON: Final = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_MOST_ATTEMPTS: Final = 1000
_CODES: Final = range(400, 600)


def retry_policy(retry: Retry, backend_timeout: timedelta = timedelta(0)) -> Any | None:
    """Return the policy, None where there is nothing to say: no retries and no limit per try.

    Raises ValueError for what Envoy would reject.
    """
    if not 0 <= retry.attempts <= _MOST_ATTEMPTS:
        raise ValueError(f"{retry.attempts} attempts")
    if any(code not in _CODES for code in retry.codes):
        raise ValueError("only answers from 400 to 599 are asked for again")
    if not retry.attempts and not backend_timeout:
        return None
    message = route_components_pb2.RetryPolicy(
        retry_on=RETRY_ON, num_retries={"value": retry.attempts}
    )
    if backend_timeout:
        message.per_try_timeout.CopyFrom(duration(backend_timeout))
    if retry.attempts:
        _set_tries(message, retry)
    return message


def _set_tries(message: Any, retry: Retry) -> None:
    message.retriable_status_codes.extend(retry.codes)
    message.host_selection_retry_max_attempts = 5
    message.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    if retry.backoff is not None:
        if retry.backoff < timedelta(milliseconds=1):
            raise ValueError("Envoy waits a millisecond at least before it tries again")
        message.retry_back_off.base_interval.CopyFrom(duration(retry.backoff))
