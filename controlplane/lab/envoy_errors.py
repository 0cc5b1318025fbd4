"""What running an Envoy may raise.

LabError
└── EnvoyError
"""

from controlplane.lab.errors import LabError


class EnvoyError(LabError):
    """Envoy is not there, did not start, ended, or does not answer."""

    code = "envoy"
