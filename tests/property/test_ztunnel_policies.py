"""Two independent readings of the same policies agree about every connection."""

from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.policies import Connection, evaluate
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import authorization_pb2
from tests.support import oracle
from tests.support.wire import a_policy, a_response, a_workload, name_of, policies, uid_of

TEXTS = ["", "default", "def", "cluster.local/ns/default/sa/sleep", "/sleep", "other", "cluster"]
IDENTITIES = [
    "",
    "spiffe://cluster.local/ns/default/sa/sleep",
    "spiffe://td/ns/other/sa/sleep",
    "spiffe://td/ns/other/sa/notsleep",
]
ADDRESSES = ["10.0.0.1", "10.0.1.1", "192.168.0.1", "2001:db8::1", "::a00:1"]

texts = st.one_of(
    st.builds(
        lambda kind, text: authorization_pb2.StringMatch(**{kind: text}),
        st.sampled_from(["exact", "prefix", "suffix"]),
        st.sampled_from(TEXTS),
    ),
    st.just(authorization_pb2.StringMatch(presence={})),
    st.just(authorization_pb2.StringMatch()),
)
accounts = st.builds(
    lambda namespace, account: authorization_pb2.ServiceAccountMatch(
        namespace=namespace, serviceAccount=account
    ),
    st.sampled_from(["default", "other", ""]),
    st.sampled_from(["sleep", "notsleep", "", "*"]),
)
blocks = st.builds(
    lambda address, length: authorization_pb2.Address(address=address, length=length),
    st.one_of(
        st.sampled_from([ip_address(address).packed for address in ADDRESSES]),
        st.binary(max_size=5),
    ),
    st.sampled_from([0, 8, 23, 24, 31, 32, 33, 64, 128, 129]),
)
ports = st.sampled_from([80, 8080, 0, 65535])


def few(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    return st.one_of(st.just([]), st.just([]), st.just([]), st.lists(strategy, max_size=2))


matches = st.builds(
    authorization_pb2.Match,
    namespaces=few(texts),
    not_namespaces=few(texts),
    principals=few(texts),
    not_principals=few(texts),
    service_accounts=few(accounts),
    not_service_accounts=few(accounts),
    source_ips=few(blocks),
    not_source_ips=few(blocks),
    destination_ips=few(blocks),
    not_destination_ips=few(blocks),
    destination_ports=few(ports),
    not_destination_ports=few(ports),
)
rules = st.builds(authorization_pb2.Rules, matches=st.lists(matches, max_size=2))
groups = st.builds(authorization_pb2.Group, rules=st.lists(rules, max_size=2))
authorizations = st.builds(
    lambda name, namespace, scope, action, dry_run, groups: a_policy(
        name, namespace, scope=scope, action=action, dry_run=dry_run, groups=groups
    ),
    st.sampled_from(["p", "q", "r"]),
    st.sampled_from(["default", "other"]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 1]),
    st.sampled_from([False, False, False, True]),
    st.lists(groups, max_size=2),
)
callers = st.builds(
    lambda identity, source, destination, port: (identity, source, destination, port),
    st.sampled_from(IDENTITIES),
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    ports,
)
Caller = tuple[str, str, str, int]

IDENTITY = IDENTITIES[1]


@given(
    st.lists(authorizations, max_size=3, unique_by=name_of),
    st.lists(st.sampled_from(["default/p", "other/q", "default/gone"]), unique=True),
    st.lists(callers, min_size=1, max_size=4),
)
@example([a_policy("p", groups=[])], ["default/p"], [("", "10.0.0.1", "10.0.0.1", 80)])
@example([a_policy("p", action=0, groups=[])], ["default/p"], [(IDENTITY, "::1", "::1", 80)])
def test_the_node_and_the_oracle_agree(
    held: list[authorization_pb2.Authorization], listed: list[str], calls: list[Caller]
) -> None:
    session = Session(NodeIdentity())
    session.connect()
    session.receive(policies(*held))
    message = a_workload("a", policies=listed)
    session.receive(a_response(message))
    workload = session.state.workloads.by_uid[uid_of("a")]
    by_name = {name_of(policy): policy for policy in held}
    for identity, source, destination, port in calls:
        verdict = evaluate(
            session.state,
            workload,
            Connection(
                identity=identity,
                source_ip=ip_address(source),
                destination_ip=ip_address(destination),
                destination_port=port,
            ),
        )
        caller = oracle.Caller(
            identity, ip_address(source).packed, ip_address(destination).packed, port
        )
        assert verdict.allowed == oracle.is_allowed(message, by_name, caller)
