"""Why a command could not do what it was asked for.

CommandError    the sentence that is printed before the command exits with 1
"""

from controlplane.errors import IstiodLiteError


class CommandError(IstiodLiteError):
    """A command cannot go on; ``str()`` says why to whoever called it."""

    code = "command"
