"""Why the cluster's API server gave no use.

ClusterError
├── ClusterUnavailableError    it cannot be reached, or does not answer in time
├── ClusterRefusedError        it answered that it will not
├── ClusterAnswerError         what it answered is not what was asked for
└── ClusterConfigurationError  where it is, or who we are, cannot be told

No text holds a body: it may be a token or a key.
"""

from controlplane.errors import IstiodLiteError


class ClusterError(IstiodLiteError):
    """Root of this package.

    ``is_passing`` tells that the API server is away, too busy or unwell, and not against us: the
    same question may be answered in a moment.
    """

    code = "cluster"
    is_passing: bool = False


class ClusterUnavailableError(ClusterError):
    """The API server cannot be reached, or does not answer in time."""

    code = "cluster-unavailable"
    is_passing = True


class ClusterRefusedError(ClusterError):
    """The API server answered with ``status`` and, where it gave one, a word of a ``reason``.

    ``retry_after`` are the seconds it asks us to wait, or 0.
    """

    code = "cluster-refused"

    def __init__(self, status: int, reason: str = "", *, retry_after: float = 0.0) -> None:
        super().__init__(f"HTTP status {status}" + (f", {reason}" if reason else ""))
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.is_passing = status == 429 or status >= 500


class ClusterAnswerError(ClusterError):
    """What the API server answered is not what was asked for."""

    code = "cluster-answer"


class ClusterConfigurationError(ClusterError):
    """Where the API server is, or who we are to it, cannot be told: ``str()`` says why."""

    code = "cluster-configuration"
