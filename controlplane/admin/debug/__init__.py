"""``/debug``: the endpoints that tools of istiod ask, answered for the whole fleet."""
