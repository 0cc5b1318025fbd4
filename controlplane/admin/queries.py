"""What may be asked of lists: query parameters of the API, and arguments of ``MeshView``."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MOST: int = 1000


class PageQuery(BaseModel):
    """Where a page starts and how long it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=100, ge=1, le=MOST, description="Elements wanted at most.")
    after: str = Field(
        default="", max_length=4096, description="`next` of the page before; empty for the first."
    )


class ElementQuery(PageQuery):
    """A page of things that have a namespace and a name."""

    namespace: str = Field(default="", max_length=253, description="Only of this namespace.")
    name: str = Field(
        default="", max_length=253, description="Only where the name contains this text."
    )


class WorkloadQuery(ElementQuery):
    """A page of workloads."""

    node: str = Field(default="", max_length=253, description="Only on this node.")
    service: str = Field(
        default="", max_length=512, description="Only behind this service: namespace/hostname."
    )
    account: str = Field(default="", max_length=253, description="Only of this service account.")
    address: str = Field(default="", max_length=64, description="Only with this IP address.")
    status: Literal["", "Healthy", "Unhealthy"] = Field(
        default="", description="Only in this state."
    )


class ServiceQuery(ElementQuery):
    """A page of services."""

    waypoint: str = Field(
        default="", max_length=512, description="Only with this waypoint: namespace/hostname."
    )


class PolicyQuery(ElementQuery):
    """A page of policies."""

    action: Literal["", "Allow", "Deny"] = Field(default="", description="Only of this action.")
    scope: Literal["", "Global", "Namespace", "WorkloadSelector"] = Field(
        default="", description="Only of this scope."
    )


class ProblemQuery(ElementQuery):
    """A page of problems."""

    severity: Literal["", "error", "warning", "info"] = Field(
        default="", description="Only of this severity."
    )
    code: str = Field(default="", max_length=100, description="Only with this code.")
    kind: str = Field(default="", max_length=100, description="Only of objects of this kind.")


class ConditionQuery(ElementQuery):
    """A page of conditions."""

    kind: str = Field(default="", max_length=100, description="Only of objects of this kind.")
    type: str = Field(default="", max_length=253, description="Only of this type.")
    status: bool | None = Field(default=None, description="Only true or only false ones.")


class NodeQuery(PageQuery):
    """A page of nodes."""

    name: str = Field(
        default="", max_length=253, description="Only where the name contains this text."
    )


class ConnectionQuery(PageQuery):
    """A page of connections."""

    name: str = Field(
        default="", max_length=253, description="Only where pod.namespace contains this text."
    )
    namespace: str = Field(default="", max_length=253, description="Only pods of this namespace.")
    node: str = Field(default="", max_length=253, description="Only on this node.")
    kind: str = Field(default="", max_length=100, description="Only clients of this kind.")
    replica: str = Field(default="", max_length=253, description="Only connected to this replica.")
    state: Literal["", "SYNCED", "STALE", "NOT SENT", "ERROR", "IGNORED"] = Field(
        default="", description="Only in this state."
    )


class CommitQuery(PageQuery):
    """A page of commits, newest first."""

    limit: int = Field(default=50, ge=1, le=MOST, description="Commits wanted at most.")
    replica: str = Field(
        default="", max_length=253, pattern=r"^[!-~]*$", description="Only of this replica."
    )


class CertificateQuery(PageQuery):
    """A page of the ledger, newest first."""

    outcome: Literal["issued", "refused"] = Field(
        default="issued", description="What was issued, or what was refused."
    )
    identity: str = Field(default="", max_length=2048, description="Only for this SPIFFE id.")
    node: str = Field(default="", max_length=253, description="Only asked for by this node.")
    authority: str = Field(default="", max_length=128, description="Only signed by this authority.")
    since: datetime | None = Field(default=None, description="Only since this time.")
