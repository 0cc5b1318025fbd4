"""Errors of the dataflow engine: raised to whoever builds or drives a graph wrongly.

A rule that fails on its data raises none of these; it is recorded as a `Failure`. The errors below
mean that a program is wrong, so a commit during which one occurs raises it once it has ended.

    DataflowError
    +-- TransactionError     inputs changed, or the graph built, at the wrong moment
    +-- InputTypeError       a value of another type was put into an input
    +-- BatcherStoppedError  changes were awaited from a batcher that no longer runs
    +-- RuleError            a rule broke the terms of being a rule
        +-- ReadOrderError   it read a collection that is not built before its own
        +-- ImpureRuleError  it gave two results for the same values
"""

from controlplane.errors import IstiodLiteError


class DataflowError(IstiodLiteError):
    """Anything the engine refuses."""


class TransactionError(DataflowError):
    """An input was changed outside a transaction, or two commits overlapped."""


class InputTypeError(DataflowError):
    """A value is not of the type its input was declared with."""


class BatcherStoppedError(DataflowError):
    """The batcher's task has ended, so what was handed over will not be committed."""


class RuleError(DataflowError):
    """A rule is written in a way the engine cannot keep up to date."""


class ReadOrderError(RuleError):
    """A rule read a collection built after its own, its own, one of another graph, or too late."""


class ImpureRuleError(RuleError):
    """A rule that ran twice on the same values gave different results or read different things."""
