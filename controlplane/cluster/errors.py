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
    """Root of this package."""

    code = "cluster"


class ClusterUnavailableError(ClusterError):
    """The API server cannot be reached, or does not answer in time."""

    code = "cluster-unavailable"


class ClusterRefusedError(ClusterError):
    """The API server answered with ``status`` and, where it gave one, a word of a ``reason``."""

    code = "cluster-refused"

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(f"HTTP status {status}" + (f", {reason}" if reason else ""))
        self.status = status
        self.reason = reason


class ClusterAnswerError(ClusterError):
    """What the API server answered is not what was asked for."""

    code = "cluster-answer"


class ClusterConfigurationError(ClusterError):
    """Where the API server is, or who we are to it, cannot be told: ``str()`` says why."""

    code = "cluster-configuration"
