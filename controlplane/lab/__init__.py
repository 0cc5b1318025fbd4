"""A mesh on loopback without a cluster: what proxies and applications do, in Python.

Used by ``istiod-lite demo`` and by the end-to-end tests as an independent judge of what is served.
"""
