"""Requests for certificates in tests: CSRs of every kind, and doubles of whoever issuance asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import AuthenticationError
from controlplane.authentication.token_shape import bearer_token
from controlplane.ca.decisions import Decisions
from controlplane.ca.errors import AuthorityError, ImpersonationDeniedError, Reply
from controlplane.ca.issuance import Issuance
from controlplane.ca.limits import Limits, RateLimits
from controlplane.ca.requests import CertificateRequests, RequestSettings
from controlplane.ca.signer import SignerSnapshot, SignerSource
from controlplane.ca.ttl import LifetimePolicy
from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from controlplane.model.identity import Identity
from controlplane.pb.certificate_pb2 import IstioCertificateRequest, IstioCertificateResponse
from tests.support.authorities import FixedSigner, a_key, a_snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEER = "ipv4:127.0.0.1:5000"
ZTUNNEL = Caller(
    namespace="istio-system",
    service_account="ztunnel",
    cluster="Kubernetes",
    pod_name="ztunnel-a",
    pod_uid="uid-ztunnel-a",
    node_name="node-a",
)
WAYPOINT = Caller(
    namespace="shop",
    service_account="waypoint",
    cluster="Kubernetes",
    pod_name="waypoint-1",
    pod_uid="uid-waypoint-1",
    node_name="node-b",
)
SHOP = Identity(trust_domain="cluster.local", namespace="shop", service_account="cart")
ZTUNNEL_ITSELF = Identity(
    trust_domain="cluster.local", namespace="istio-system", service_account="ztunnel"
)
HEADERS = {"authorization": ("Bearer ztunnel",), "clusterid": ("Kubernetes",)}


class SetClock:
    """A clock that stands where it is set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.seconds = 0.0
        self._start = now

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def a_csr(
    identity: Identity | str | None = SHOP,
    *,
    key: Any = None,
    names: Sequence[x509.GeneralName] | None = None,
    subject: x509.Name | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: Any = None,
) -> str:
    """Return a CSR as a node proxy makes it, but for what is said otherwise."""
    key = key or a_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    if names is None and identity is not None:
        names = [x509.UniformResourceIdentifier(str(identity))]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    if algorithm is None and not isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        algorithm = hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


EMPTY_ORGANIZATION = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "", _validate=False)])


def a_request(
    csr: str | None = None,
    *,
    named: Any = str(SHOP),
    validity: int = 86_400,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a serialised request that names ``named``; None names nobody."""
    fields: dict[str, Any] = dict(metadata or {})
    if named is not None:
        fields["ImpersonatedIdentity"] = named
    return IstioCertificateRequest(
        csr=a_csr(named if isinstance(named, str) and named.isascii() else SHOP)
        if csr is None
        else csr,
        validity_duration=validity,
        metadata=ParseDict(fields, Struct()),
    ).SerializeToString()


def leaf_of(answer: bytes | Reply) -> x509.Certificate:
    """Return the leaf of an answer that is a chain."""
    return x509.load_pem_x509_certificate(chain_of(answer)[0].encode())


def chain_of(answer: bytes | Reply) -> list[str]:
    """Return the chain of an answer; fail where it is a refusal."""
    assert isinstance(answer, bytes), answer
    return list(IstioCertificateResponse.FromString(answer).cert_chain)


def refusal_of(answer: bytes | Reply) -> Reply:
    """Return the refusal of an answer; fail where it is a chain."""
    assert isinstance(answer, Reply)
    return answer


class KnownTokens:
    """An authenticator of tokens that are names of callers."""

    def __init__(self, **callers: Caller | AuthenticationError) -> None:
        self.callers: dict[str, Caller | AuthenticationError] = {
            "ztunnel": ZTUNNEL,
            "waypoint": WAYPOINT,
            **callers,
        }
        self.asked = 0

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        self.asked += 1
        token = bearer_token(metadata)
        found = self.callers[token]
        if isinstance(found, AuthenticationError):
            raise found
        return found


class KnownPods:
    """A node authorizer that knows which identities are on the nodes of the mesh."""

    def __init__(self, *identities: Identity) -> None:
        self.identities = set(identities) or {SHOP, ZTUNNEL_ITSELF}
        self.failure: AuthorityError | None = None
        self.asked: list[Identity] = []

    async def authorize(self, caller: Caller, identity: Identity) -> None:
        self.asked.append(identity)
        if self.failure is not None:
            raise self.failure
        if identity not in self.identities:
            raise ImpersonationDeniedError("not-on-node")


@dataclass
class Ledger:
    """A recorder that remembers."""

    issued: list[IssuedCertificate] = field(default_factory=list)
    refused: list[RefusedRequest] = field(default_factory=list)
    strictly: list[IssuedCertificate] = field(default_factory=list)
    failure: Exception | None = None

    def record(self, certificate: IssuedCertificate) -> None:
        self.issued.append(certificate)

    def refuse(self, request: RefusedRequest) -> None:
        self.refused.append(request)

    async def record_strict(self, certificate: IssuedCertificate) -> None:
        if self.failure is not None:
            raise self.failure
        self.strictly.append(certificate)


@dataclass
class Witness:
    """An observer that remembers what it heard."""

    heard: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def requested(self) -> None:
        self.heard.append("requested")

    def issued(self, seconds: float, key_type: str) -> None:
        self.heard.append(f"issued {key_type}")

    def signed(self, seconds: float) -> None:
        self.heard.append("signed")

    def refused(self, reply: Reply) -> None:
        self.heard.append("refused")
        self.replies.append(reply)

    def names_differed(self) -> None:
        self.heard.append("names differed")

    def signer_ignored(self) -> None:
        self.heard.append("signer ignored")

    def key_shared(self) -> None:
        self.heard.append("key shared")


class Desk:
    """Everything that serves a request, put together; each part within reach."""

    def __init__(
        self,
        *,
        snapshot: SignerSnapshot | None = None,
        signers: SignerSource | None = None,
        clock: Any = None,
        lifetimes: LifetimePolicy | None = None,
        limits: RateLimits | None = None,
        settings: RequestSettings | None = None,
        authenticator: Any = None,
        draw: float = 0.0,
        allows_unbound_credentials: bool = False,
    ) -> None:
        self.clock = clock or SetClock()
        self.signer = FixedSigner(snapshot or a_snapshot(now=self.clock.now()))
        self.authenticator = authenticator or KnownTokens()
        self.pods = KnownPods()
        self.ledger = Ledger()
        self.witness = Witness()
        self.issuance = Issuance(
            signers or self.signer,
            self.clock,
            lifetimes or LifetimePolicy(),
            draw=lambda: draw,
        )
        numbers = count(1)
        self.requests = CertificateRequests(
            authenticator=self.authenticator,
            limits=Limits(limits or RateLimits(), self.clock),
            decisions=Decisions(
                self.pods,
                trust_domain="cluster.local",
                node_accounts={ZTUNNEL.account},
                allows_unbound_credentials=allows_unbound_credentials,
            ),
            issuance=self.issuance,
            recorder=self.ledger,
            observer=self.witness,
            clock=self.clock,
            settings=settings or RequestSettings(),
            name_request=lambda: f"request-{next(numbers)}",
        )

    async def ask(
        self, request: bytes | None = None, headers: Metadata | None = None
    ) -> bytes | Reply:
        """Return the answer to a request, by default that of a node proxy for a pod of its own."""
        message = a_request() if request is None else request
        return await self.requests.answer(message, HEADERS if headers is None else headers, PEER)


def rsa_key_with(numbers: rsa.RSAPrivateNumbers) -> rsa.RSAPrivateKey:
    """Return a key of odd numbers."""
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)
