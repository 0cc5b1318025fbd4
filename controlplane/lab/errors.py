"""What the lab itself may raise.

LabError
"""

from controlplane.errors import IstiodLiteError


class LabError(IstiodLiteError):
    """The lab could not do its part; the sentence says what."""

    code = "lab"
