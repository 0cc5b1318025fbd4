"""Collections that keep themselves up to date; knows nothing of meshes.

Values enter through inputs, rules derive further collections from them, subscribers receive net
changes per commit. `Graph` builds and commits, `Fetch` is how rules read, `Batcher` stands in
front and decides when to commit.
"""

from controlplane.dataflow.batch import Batcher
from controlplane.dataflow.collection import Collection, Handler
from controlplane.dataflow.collector import tune_collector
from controlplane.dataflow.errors import (
    BatcherStoppedError,
    DataflowError,
    ImpureRuleError,
    InputTypeError,
    ReadOrderError,
    RuleError,
    TransactionError,
)
from controlplane.dataflow.fetch import Fetch
from controlplane.dataflow.graph import Graph
from controlplane.dataflow.index import Index
from controlplane.dataflow.input import Edits, Input
from controlplane.dataflow.values import (
    KEEP,
    Change,
    Clash,
    CollectionDescription,
    CommitSummary,
    Failure,
    Keep,
)

__all__ = [
    "KEEP",
    "Batcher",
    "BatcherStoppedError",
    "Change",
    "Clash",
    "Collection",
    "CollectionDescription",
    "CommitSummary",
    "DataflowError",
    "Edits",
    "Failure",
    "Fetch",
    "Graph",
    "Handler",
    "ImpureRuleError",
    "Index",
    "Input",
    "InputTypeError",
    "Keep",
    "ReadOrderError",
    "RuleError",
    "TransactionError",
    "tune_collector",
]
