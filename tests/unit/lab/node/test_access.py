"""What a node proxy tells of a connection."""

from controlplane.lab.node.access import INBOUND, OUTBOUND, AccessLog, AccessRecord

SLEEP = "spiffe://cluster.local/ns/shop/sa/sleep"


def _record(direction: str = INBOUND) -> AccessRecord:
    return AccessRecord(
        direction=direction,
        source="127.64.0.1:40000",
        destination="127.64.0.2:15008",
        hbone="127.64.0.2:8080",
        source_identity=SLEEP,
        service="web.shop.svc.cluster.local",
        bytes_sent=12,
        bytes_received=34,
    )


def test_a_line_names_what_is_known_and_nothing_else() -> None:
    record = _record()
    assert str(record) == (
        'access\tconnection open src.addr="127.64.0.1:40000" '
        f'src.identity="{SLEEP}" dst.addr="127.64.0.2:15008" '
        'dst.hbone_addr="127.64.0.2:8080" dst.service="web.shop.svc.cluster.local" '
        'direction="inbound" bytes_sent=12 bytes_recv=34'
    )
    record.error = "policy rejection"
    AccessLog().complete(record, 0.0123)
    assert str(record).startswith("access\tconnection complete ")
    assert str(record).endswith('duration="12ms" error="policy rejection"')


def test_a_summary_says_who_reached_what() -> None:
    assert _record().summary == (
        f"src.identity={SLEEP} dst.service=web.shop.svc.cluster.local direction=inbound bytes=12/34"
    )


def test_listeners_hear_of_connections_when_they_begin() -> None:
    heard: list[AccessRecord] = []
    log = AccessLog(heard.append)
    first, second = log.begin(_record()), log.begin(_record(OUTBOUND))
    assert heard == list(log.records) == [first, second]
    assert heard[0].duration is None
    log.complete(first, 0.5)
    assert heard[0].duration == 0.5
