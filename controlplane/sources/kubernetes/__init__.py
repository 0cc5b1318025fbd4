"""Objects of a cluster: every kind that is read, listed and watched (docs/protocol/cluster.md)."""
