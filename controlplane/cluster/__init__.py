"""The API server of the cluster we run in: the only package that speaks to it."""
