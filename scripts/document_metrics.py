"""Write docs/metrics.md from the metrics themselves; with --check, compare instead."""

import sys
from typing import Any, Final

from generated_page import cell, keep
from prometheus_client.metrics import MetricWrapperBase

from controlplane.metrics import Metrics
from controlplane.metrics.kinds import Count

HEAD = """# Metrics

`GET /metrics` on the admin port (15014) answers in the Prometheus text format, and in that of
OpenMetrics to whoever asks for it; nobody needs a credential. Names that mean what they mean at
istiod are istiod's, so that its dashboards work; ours begin with `istiod_lite_`. Names are as they
are exposed: counters end in `_total`, a histogram has `_bucket`, `_sum` and `_count`. `count` is a
gauge that only grows: what istiod exposes as a counter without `_total`. Times are seconds, sizes
are bytes. No label has a value for each pod, workload or client. This page is written by
`make docs`.

What to alert on: [operations.md](operations.md#what-to-watch).
"""
TITLES: Final = {
    "serving": "Serving",
    "mesh": "The mesh",
    "certificates": "Certificates",
    "cluster": "The cluster",
    "process": "The process",
}
TABLE = """
## {title}

| name | type | labels | meaning |
|---|---|---|---|
"""
TAIL = """
`process_*` (CPU, memory, open files, start time) are those of every Prometheus client.
"""


def documented() -> dict[str, list[tuple[str, str, tuple[str, ...], str]]]:
    """Return for each group of metrics: name as exposed, type, labels, meaning."""
    metrics = Metrics("0")
    return {
        group: [
            _facts(each) for each in vars(found).values() if isinstance(each, MetricWrapperBase)
        ]
        for group, found in vars(metrics).items()
        if group in TITLES
    }


def metrics_page() -> str:
    """Return the whole page."""
    tables = []
    groups = documented()
    for group, title in TITLES.items():
        rows = [
            f"| `{name}` | {kind} | {', '.join(f'`{each}`' for each in labels)} | {meaning} |\n"
            for name, kind, labels, meaning in groups[group]
        ]
        tables.append(TABLE.format(title=title) + "".join(rows))
    return HEAD + "".join(tables) + TAIL


def _facts(metric: Any) -> tuple[str, str, tuple[str, ...], str]:
    # The library tells the labels of a metric nowhere else.
    labels = metric._labelnames  # noqa: SLF001
    (family,) = metric.describe()
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    kind = "count" if isinstance(metric, Count) else family.type
    return family.name + suffix, kind, labels, cell(family.documentation)


if __name__ == "__main__":
    sys.exit(keep("metrics.md", metrics_page()))
