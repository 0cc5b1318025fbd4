"""A mesh on loopback without a cluster: what proxies and applications do, in Python.

Used by ``istiod-lite demo`` and by the end-to-end tests as an independent judge of what is served.
"""

import os

# gRPC reads it when it is imported. What the lab starts are other programs, never copies of this
# one, and gRPC would say of each that it has not prepared for a copy.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
