"""Where manifests come from: a watched folder, memory (tests), later a cluster.

Every source feeds a ``Sink`` of the graph's owner; none knows what the objects are for.
"""
