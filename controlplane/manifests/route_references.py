"""What routes of every kind name: the objects that they send to.

Parents are ``model.route_parent.ParentReference``: what is said of them goes back to their authors.
"""

import msgspec


class BackendTarget(msgspec.Struct, frozen=True, gc=False):
    """A backend as a route names it; ``namespace`` "" is the route's own, ``port`` 0 is absent."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: int = 0
