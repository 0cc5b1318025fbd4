"""What can keep the process from starting.

StartupError
"""

from controlplane.errors import IstiodLiteError


class StartupError(IstiodLiteError):
    """The settings cannot be served; the sentence says which and why."""

    code = "startup"
