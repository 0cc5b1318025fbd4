"""Who answers for a hostname.

Candidates of Services and ServiceEntries come in. Per hostname and namespace one of them wins,
and per hostname one winner is canonical; winners go out as services, bound to their waypoints,
and as backends for the workloads. Losers become Problems. docs/protocol/services.md, SV-24 to
SV-27.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.mesh.backends import Backend, Origin
from controlplane.mesh.binding import ServiceBinding, bind_service
from controlplane.mesh.candidates import Candidate, CandidateKey
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import ObjectReference, ServiceName
from controlplane.model.problem import Problem, Severity
from controlplane.model.service import Service, Visibility


class Lost(NamedTuple):
    """A claim that another object of the same namespace won."""

    owner: ObjectReference
    field: str
    winner: ObjectReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What became of the claims to one hostname."""

    winners: tuple[CandidateKey, ...]
    canonical: CandidateKey | None
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """A candidate that is published."""

    candidate: Candidate
    is_canonical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services of the mesh, and what their workloads read of them."""

    winners: Collection[ServiceName, Winner]
    bindings: Collection[ServiceName, ServiceBinding]
    services: Collection[ServiceName, Service]
    backends: Collection[ServiceName, Backend]
    problems: Collection[ProblemKey, Problem]


def build_services(
    graph: Graph, candidates: Collection[CandidateKey, Candidate], waypoints: Waypoints
) -> Services:
    """Declare the published services on ``graph``."""
    by_hostname = candidates.index(
        "candidates by hostname", lambda value: (value.service.hostname,)
    )
    hostnames = graph.distinct("hostnames", by_hostname)

    def claim(fetch: Fetch, hostname: str) -> Claims:
        return settle_claims(fetch.where(by_hostname, hostname))

    claims = graph.derive("hostname claims", hostnames, claim)

    def publish(fetch: Fetch, candidate: Candidate) -> Mapping[ServiceName, Winner]:
        settled = fetch.one(claims, candidate.service.hostname)
        key = candidate.key
        if settled is None or key not in settled.winners:
            return {}
        winner = Winner(candidate=candidate, is_canonical=key == settled.canonical)
        return {candidate.service.key: winner}

    winners = graph.derive_many("published candidates", candidates, publish)
    backends = graph.derive("backends", winners, lambda _, winner: winner.candidate.backend)

    def bind(fetch: Fetch, winner: Winner) -> ServiceBinding:
        return bind_service(fetch, waypoints, winner.candidate.subject)

    bindings = graph.derive("service bindings", winners, bind)

    def service(fetch: Fetch, winner: Winner) -> Service:
        declared = winner.candidate.service
        binding = fetch.one(bindings, declared.key) or ServiceBinding()
        return replace(
            declared,
            canonical=winner.is_canonical,
            waypoint=binding.waypoint,
            weighted_waypoints=binding.weighted,
            ingress_use_waypoint=binding.ingress,
        )

    return Services(
        winners=winners,
        bindings=bindings,
        services=graph.derive("services of hostnames", winners, service),
        backends=backends,
        problems=graph.derive_many("hostname problems", claims, _problems),
    )


def settle_claims(candidates: Iterable[Candidate]) -> Claims:
    """Return who wins the one hostname that all ``candidates`` claim.

    Within a namespace a Service wins, then the oldest ServiceEntry. Canonical is a Service, then
    the oldest ServiceEntry that the whole mesh sees.
    """
    ordered = sorted(candidates, key=lambda value: (value.key.namespace, _precedence(value)))
    winners: list[Candidate] = []
    lost: list[Lost] = []
    for _, rivals in groupby(ordered, key=lambda value: value.key.namespace):
        winner, *losers = rivals
        winners.append(winner)
        lost.extend(Lost(loser.owner, loser.field, winner.owner) for loser in losers)
    public = (
        winner
        for winner in winners
        if winner.backend.origin is Origin.SERVICE or winner.service.visibility is Visibility.PUBLIC
    )
    canonical = min(public, key=_precedence, default=None)
    return Claims(
        winners=tuple(winner.key for winner in winners),
        canonical=None if canonical is None else canonical.key,
        lost=tuple(lost),
    )


def _precedence(candidate: Candidate) -> tuple[Origin, tuple[float, str, str]]:
    return candidate.backend.origin, candidate.age


def _problems(_: Fetch, claims: Claims) -> Mapping[ProblemKey, Problem]:
    problems = [
        Problem(
            severity=Severity.WARNING,
            code="hostname.duplicate",
            message=f"{lost.winner} answers for this hostname in the namespace",
            object=lost.owner,
            field=lost.field or None,
        )
        for lost in claims.lost
    ]
    return {problem_key(problem): problem for problem in problems}
