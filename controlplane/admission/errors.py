"""What goes wrong in the webhook itself; what is wrong with an object is a verdict.

AdmissionError
├── MalformedReviewError       what was sent is no AdmissionReview: the caller is told why
└── UnusableCertificateError   a chain and a key that cannot be served
"""

from controlplane.errors import IstiodLiteError


class AdmissionError(IstiodLiteError):
    """Root of this package."""

    code = "admission"


class MalformedReviewError(AdmissionError):
    """What was sent is no AdmissionReview; ``str()`` says why and where."""

    code = "malformed-review"


class UnusableCertificateError(AdmissionError):
    """A chain and a key that cannot be served; ``str()`` holds nothing of either."""

    code = "unusable-certificate"
