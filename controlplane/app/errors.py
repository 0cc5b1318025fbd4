"""What can keep the process from starting.

StartupError
"""

from controlplane.errors import IstiodLiteError


class StartupError(IstiodLiteError):
    """The settings cannot be served; the sentence says which and why."""

    code = "startup"


def startup_error_in(errors: BaseExceptionGroup[StartupError]) -> StartupError:
    """Return the first of a group, however deep it is."""
    found = errors.exceptions[0]
    return found if isinstance(found, StartupError) else startup_error_in(found)
