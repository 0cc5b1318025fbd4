"""The ten steps: a stage comes in, what was done and seen goes out.

What is judged is what applications were answered, what proxies logged and what they hold.
"""

import asyncio
from collections import Counter
from typing import Final

from cryptography.x509.oid import NameOID

from controlplane.lab.requests import Answer
from controlplane.lab.story.stage import AMBIENT, USE_WAYPOINT, Stage, inbound
from controlplane.lab.story.told import Told

PRODUCTPAGE: Final = "http://productpage.bookinfo:9080/productpage"
DETAILS: Final = "http://details.bookinfo:9080/details/0"
REVIEWS: Final = "http://reviews.bookinfo:9080/reviews/0"
_SLEEP: Final = "spiffe://cluster.local/ns/bookinfo/sa/sleep"
_WAYPOINT: Final = "spiffe://cluster.local/ns/bookinfo/sa/waypoint"
_OK: Final = 200
_FORBIDDEN: Final = 403
_REQUESTS: Final = 500
_SHARE: Final = (25, 85)
"""Of 500 requests with probability 0.1: more than three standard deviations either way."""
_OUTAGE: Final = 10.0
_RETURN: Final = 40.0
_SOON: Final = 5.0
_LABELS: Final = ("source_principal=", "destination_service_name=", "response_code=")


async def plain(stage: Stage, told: Told) -> None:
    """Nothing is labelled: traffic flows as if there were no mesh."""
    told.done.append("the bookshop runs; no namespace is labelled")
    answer = await stage.ask("sleep", PRODUCTPAGE)
    told.saw("sleep is answered 200", _status(answer), met=answer.status == _OK)
    told.saw(
        "no node proxy saw the connection",
        f"{len(answer.records)} log lines",
        met=answer.status == _OK and not answer.records,
    )


async def ambient(stage: Stage, told: Told) -> None:
    """One label, and connections have identities."""
    stage.label_namespace(AMBIENT, "ambient")
    told.done.append(f"kubectl label namespace bookinfo {AMBIENT}=ambient")
    answer = await stage.until(
        lambda: stage.ask("sleep", PRODUCTPAGE),
        lambda answer: any(record.source_identity == _SLEEP for record in inbound(answer)),
    )
    told.saw("sleep is answered 200", _status(answer), met=answer.status == _OK)
    records = [record for record in inbound(answer) if record.source_identity == _SLEEP]
    told.saw(
        "productpage's node proxy knows who called, by mutual TLS",
        records[0].summary if records else "no such log line",
        met=bool(records and records[0].hbone),
    )


async def callers(stage: Stage, told: Told) -> None:
    """Node proxies enforce who may connect."""
    stage.apply(told, "03-callers.yaml")
    refused = await stage.until(lambda: stage.ask("notsleep", PRODUCTPAGE), _is_refused)
    told.saw("notsleep is refused", _status(refused), met=_is_refused(refused))
    reasons = [record.error for record in inbound(refused)]
    told.saw(
        "the log says which policy",
        reasons[0] if reasons else "nothing",
        met=any(reason.startswith("policy rejection") for reason in reasons),
    )
    answer = await stage.ask("sleep", PRODUCTPAGE)
    told.saw("sleep reaches productpage", _status(answer), met=answer.status == _OK)


async def strict(stage: Stage, told: Told) -> None:
    """Without an identity there is no connection."""
    before = await stage.ask("outsider", DETAILS)
    told.saw("before: outside/outsider reaches details", _status(before), met=before.status == _OK)
    stage.apply(told, "04-strict.yaml")
    refused = await stage.until(lambda: stage.ask("outsider", DETAILS), _is_refused)
    told.saw("plaintext is refused", _status(refused), met=_is_refused(refused))
    answer = await stage.ask("sleep", DETAILS)
    told.saw("sleep, who has an identity, is not", _status(answer), met=answer.status == _OK)


async def waypoint(stage: Stage, told: Told) -> None:
    """A waypoint for the namespace: requests go through a real Envoy."""
    stage.apply(told, "05-waypoint.yaml", instead_of="03-callers.yaml")
    stage.label_namespace(USE_WAYPOINT, "waypoint")
    told.done.append(f"kubectl label namespace bookinfo {USE_WAYPOINT}=waypoint")
    await stage.mesh.until(stage.waypoint_is_used, "the waypoint is in use")
    await stage.mesh.settled()
    answer = await stage.until(
        lambda: stage.ask("sleep", PRODUCTPAGE),
        lambda answer: answer.status == _OK and _through_waypoint(answer),
    )
    told.saw("sleep is answered 200", _status(answer), met=answer.status == _OK)
    told.saw(
        "its node proxy called the waypoint, by identity",
        next(
            (each.summary for each in answer.records if each.destination_identity == _WAYPOINT),
            "not so",
        ),
        met=_through_waypoint(answer),
    )
    counted = await _counted(stage)
    told.saw("Envoy counted requests", counted or "none", met=bool(counted))


async def readers(stage: Stage, told: Told) -> None:
    """The waypoint enforces what a request is, and who sent it."""
    stage.apply(told, "06-readers.yaml")
    refused = await stage.until(
        lambda: stage.ask("notsleep", PRODUCTPAGE), lambda answer: answer.status == _FORBIDDEN
    )
    told.saw("notsleep gets 403", _status(refused), met=refused.status == _FORBIDDEN)
    answer = await stage.ask("sleep", PRODUCTPAGE)
    told.saw("sleep may GET", _status(answer), met=answer.status == _OK)
    deleted = await stage.ask("sleep", PRODUCTPAGE, method="DELETE")
    told.saw("sleep's DELETE gets 403", _status(deleted), met=deleted.status == _FORBIDDEN)


async def split(stage: Stage, told: Told) -> None:
    """Nine of ten requests go to one version, one to another."""
    stage.apply(told, "07-reviews.yaml")
    await stage.until(lambda: _many(stage, 10), lambda answer: b"v3" not in answer.body)
    counted = Counter(await _versions(stage, _REQUESTS))
    few, many = _SHARE
    told.saw(
        f"{_REQUESTS} requests: about 450 to v1 and 50 to v2",
        ", ".join(f"{version}: {number}" for version, number in sorted(counted.items())),
        met=set(counted) == {"v1", "v2"} and few <= counted["v2"] <= many,
    )


async def certificates(stage: Stage, told: Told) -> None:
    """A certificate is replaced, and traffic does not notice."""
    workload = stage.mesh.workload("sleep")
    node = stage.mesh.nodes[workload.node]
    before = await node.certificates.of(workload.identity)
    node.certificates.forget()
    told.done.append(f"the node proxy of {workload.name} asks for a new certificate")
    after = await node.certificates.of(workload.identity)
    told.saw(
        f"{workload.identity} has another certificate",
        f"{before.serial[:12]}… until {before.not_after:%H:%M:%S}, then {after.serial[:12]}…",
        met=before.serial != after.serial,
    )
    above = [*after.chain[1:], *after.roots]
    names = [
        str(name.value)
        for each in above
        for name in each.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    told.saw("it leads to the root that everybody trusts", " < ".join(names), met=bool(after.roots))
    answer = await stage.ask("sleep", PRODUCTPAGE)
    told.saw("sleep is answered 200 with it", _status(answer), met=answer.status == _OK)


async def outage(stage: Stage, told: Told) -> None:
    """The control plane goes away; the mesh does not."""
    has_waypoint = bool(stage.mesh.waypoints)
    url = REVIEWS if has_waypoint else DETAILS
    ended = asyncio.Event()
    failures: list[str] = []
    answered = 0

    async def traffic() -> None:
        nonlocal answered
        while not ended.is_set():
            answer = await stage.ask("sleep", url)
            answered += 1
            if answer.status != _OK:
                failures.append(_status(answer))
            await asyncio.sleep(0.02)

    clients = [asyncio.create_task(traffic()) for _ in range(2)]
    await stage.mesh.stop_control_plane()
    told.done.append(f"the control plane is stopped for {_OUTAGE:.0f} seconds")
    await asyncio.sleep(_OUTAGE)
    during = answered
    await stage.mesh.start_control_plane()
    told.done.append("and started again")
    await stage.mesh.until(stage.is_connected, "everybody is back", _RETURN)
    ended.set()
    await asyncio.gather(*clients)
    told.saw(
        "not one request fails",
        f"{answered} requests, {during} of them while nobody was there, {len(failures)} failed",
        met=during > 0 and not failures,
    )
    told.saw("every proxy came back", f"{len(stage.mesh.nodes)} nodes", met=stage.is_connected())


async def live(stage: Stage, told: Told) -> None:
    """From saving a file to the first request that is judged by it."""
    loop = asyncio.get_running_loop()
    before = await stage.ask("sleep", PRODUCTPAGE)
    told.saw("before: sleep may", _status(before), met=before.status == _OK)
    stage.apply(told, "10-nobody.yaml", instead_of="06-readers.yaml")
    saved = loop.time()
    after = await stage.until(
        lambda: stage.ask("sleep", PRODUCTPAGE), lambda answer: answer.status == _FORBIDDEN
    )
    seconds = loop.time() - saved
    told.saw(
        "sleep may no longer",
        f"{_status(after)} after {seconds * 1000:.0f} ms",
        met=after.status == _FORBIDDEN and seconds < _SOON,
    )


async def _counted(stage: Stage) -> str:
    """Return the first metric in which the waypoint counts requests of sleep, in short."""
    text: str = await stage.waypoint.admin("/stats/prometheus")
    lines = (line for line in text.splitlines() if "istio_requests_total{" in line)
    line = next((line for line in lines if _SLEEP in line), "")
    if not line:
        return ""
    labels = [part for part in line.split(",") if part.startswith(_LABELS)]
    name, value = line.partition("{")[0], line.rpartition(" ")[2]
    return f"{name.removeprefix('envoy_')} {' '.join(labels)}: {value}"


def _is_refused(answer: Answer) -> bool:
    return answer.status == 0 and bool(answer.failure)


def _through_waypoint(answer: Answer) -> bool:
    return any(record.destination_identity == _WAYPOINT for record in answer.records)


def _status(answer: Answer) -> str:
    return str(answer.status) if answer.status else f"no answer: {answer.failure}"


async def _versions(stage: Stage, number: int) -> list[str]:
    found: list[str] = []
    for _ in range(number // 10):
        answers = await asyncio.gather(*(stage.ask("sleep", REVIEWS) for _ in range(10)))
        found += [_version(answer) for answer in answers]
    return found


def _version(answer: Answer) -> str:
    if answer.status != _OK:
        return _status(answer)
    version = answer.body.partition(b'"version": "')[2].partition(b'"')[0]
    return version.decode()


async def _many(stage: Stage, number: int) -> Answer:
    """Return the versions of several answers as the body of one."""
    return Answer(body=" ".join(await _versions(stage, number)).encode())
