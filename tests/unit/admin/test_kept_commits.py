"""Commits that are no longer remembered, or another replica's: told as the database has them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.admin.reading.cursor import write_cursor
from controlplane.model.commit import Cause, CommitRecord
from controlplane.model.names import ObjectReference
from controlplane.store.commits import CommitPlace, KeptCommit
from controlplane.store.errors import DatabaseError
from tests.support.admin import REPLICA, AdminRig, a_client
from tests.support.builders import a_service
from tests.support.two_teams import OTHER, OWN

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PATH = "/api/v1/commits"


@dataclass
class HeldCommits:
    """Kept commits in memory, told as a database tells them."""

    held: list[KeptCommit] = field(default_factory=list)
    is_away: bool = False

    async def kept(
        self, limit: int, before: CommitPlace | None = None, *, replica: str = ""
    ) -> Sequence[KeptCommit]:
        if self.is_away:
            raise DatabaseError("the database failed: x")
        found = [
            each
            for each in sorted(self.held, key=lambda each: each.place, reverse=True)
            if before is None or each.place < before
            if replica in ("", each.place.replica_id)
        ]
        return found[:limit]

    def add(self, number: int, replica: str, *, at: datetime, namespace: str = "ns") -> None:
        cause = Cause(object=ObjectReference("Service", namespace, "a"))
        record = CommitRecord(replica=replica, number=number, committed_at=at, causes=(cause,))
        self.held.append(KeptCommit(CommitPlace(at, replica, "i", number), record))


@pytest.fixture
def kept() -> HeldCommits:
    held = HeldCommits()
    for number in range(1, 4):
        held.add(number, "replica-2", at=LONG_AGO + timedelta(seconds=number))
        held.add(number, REPLICA, at=LONG_AGO + timedelta(seconds=number))
    return held


@pytest.fixture
def rig(kept: HeldCommits) -> AdminRig:
    rig = AdminRig()
    for name in ("a", "b"):
        rig.apply(a_service(name))
    now = rig.clock.now()
    for record in (rig.commits.get(1), rig.commits.get(2)):
        assert record is not None
        kept.held.append(
            KeptCommit(CommitPlace(record.committed_at, REPLICA, "own", record.number), record)
        )
    kept.add(9, "replica-2", at=now)
    rig.knowledge.kept_commits = kept
    return rig


async def page(rig: AdminRig, query: str = "", token: str = "") -> dict[str, Any]:
    async with a_client(rig.application(), token=token, peer="127.0.0.1") as client:
        answer = await client.get(f"{PATH}?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def told(found: dict[str, Any]) -> list[tuple[str, int, bool]]:
    return [(each["replica"], each["number"], each["is_stored"]) for each in found["items"]]


EVERYTHING = [
    (REPLICA, 2, False),
    (REPLICA, 1, False),
    ("replica-2", 3, True),
    (REPLICA, 3, True),
    ("replica-2", 2, True),
    (REPLICA, 2, True),
    ("replica-2", 1, True),
    (REPLICA, 1, True),
]


@pytest.mark.proves("AM-27")
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
async def test_behind_what_is_remembered_comes_what_is_kept(rig: AdminRig, limit: int) -> None:
    found, after = [], ""
    for _ in range(20):
        each = await page(rig, f"limit={limit}&after={after}")
        assert each["trouble"] == ""
        assert len(each["items"]) <= limit
        found += told(each)
        after = each["next"]
        if not after:
            break
    assert sorted(found) == sorted(EVERYTHING)
    assert [each[2] for each in found] == [each[2] for each in EVERYTHING]


async def test_of_one_replica_all_is_told(rig: AdminRig) -> None:
    other = await page(rig, "replica=replica-2")
    assert told(other) == [("replica-2", number, True) for number in (9, 3, 2, 1)]
    own = await page(rig, f"replica={REPLICA}")
    assert told(own) == [each for each in EVERYTHING if each[0] == REPLICA]


@pytest.mark.refutes("AM-27")
async def test_while_the_database_is_away_only_what_is_remembered_is_told(
    rig: AdminRig, kept: HeldCommits
) -> None:
    kept.is_away = True
    found = await page(rig)
    assert told(found) == EVERYTHING[:2]
    assert (found["next"], found["trouble"]) == (None, "the database failed: x")
    assert (await page(rig, "limit=1"))["trouble"] == ""
    rig.knowledge.kept_commits = None
    assert "is not open" in (await page(rig))["trouble"]


async def test_what_another_version_wrote_is_left_out(rig: AdminRig, kept: HeldCommits) -> None:
    kept.held = [each._replace(record=None) for each in kept.held]
    found = await page(rig, "limit=5")
    assert told(found) == EVERYTHING[:2]
    assert found["next"]


async def test_a_namespace_is_told_of_its_own(kept: HeldCommits) -> None:
    rig = AdminRig()
    rig.knowledge.kept_commits = kept
    kept.add(5, "replica-2", at=LONG_AGO, namespace=OWN)
    kept.add(6, "replica-2", at=LONG_AGO, namespace=OTHER)
    found = await page(rig, token=f"{OWN}/someone")
    assert told(found) == [("replica-2", 5, True)]
    assert OTHER not in str(found)


@pytest.mark.parametrize(
    "place",
    [
        (1,),
        (-1, "2026-01-01T00:00:00+00:00"),
        (1, "2026-01-01T00:00:00"),
        (1, "then"),
        ("2026-01-01T00:00:00+00:00", "r\0", "i", 1),
        ("2026-01-01T00:00:00+00:00", "r", "\ud800", 1),
        ("2026-01-01T00:00:00+00:00", "r", "i", 2**70),
        ("2026-01-01T00:00:00+00:00", "r", "i", "1"),
    ],
)
async def test_cursors_that_no_page_gave_out_are_refused(
    rig: AdminRig, place: tuple[Any, ...]
) -> None:
    async with a_client(rig.application()) as client:
        answer = await client.get(PATH, params={"after": write_cursor(place)})
    assert answer.status_code == 400
