"""The root of every exception this project raises on purpose.

Each package that raises has an ``errors.py`` whose classes derive from here. Bad configuration is
not an exception: it is a ``controlplane.model.problem.Problem``.
"""


class IstiodLiteError(Exception):
    """Root error. ``code`` is stable and machine readable; ``str()`` is a sentence for people."""

    code = "internal"
