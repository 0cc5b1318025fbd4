"""Repeatable benchmarks: names in, one JSON object per line out (docs/performance.md)."""
