"""Reviews as an API server sends them, a mesh they are judged against, and keys for the port."""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.admission.judgement import Judge
from controlplane.admission.review import ReviewRequest, Verdict, read_review
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import identity_of, read_documents
from controlplane.mesh.settings import MeshSettings
from controlplane.pipeline.assembly import Pipeline, build_pipeline
from controlplane.pipeline.intake import input_of

Json = dict[str, Any]
UID = "7a1e0d0c"


def a_review(
    judged: Json | None,
    *,
    kind: str = "",
    operation: str = "CREATE",
    old: Json | None = None,
    **request: Any,
) -> Json:
    """An AdmissionReview about an object, as a document."""
    about = judged or old or {}
    group, _, version = str(about.get("apiVersion", "v1")).rpartition("/")
    named = {"group": group, "version": version, "kind": kind or about.get("kind", "")}
    metadata = about.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": named,
            "operation": operation,
            "name": metadata.get("name", ""),
            "namespace": metadata.get("namespace", ""),
            "userInfo": {"username": "somebody"},
            "dryRun": False,
            "object": judged,
            "oldObject": old,
            **request,
        },
    }


def body_of(review: Json) -> bytes:
    return json.dumps(review).encode()


def document(text: str) -> Json:
    found: Json = yaml.safe_load(text)
    return found


@dataclass
class CommittedMesh:
    """A pipeline with objects in it, and a judge in front of it."""

    settings: MeshSettings = field(default_factory=MeshSettings)
    pipeline: Pipeline = field(init=False)
    judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = build_pipeline(self.settings)
        self.judge = Judge(self.pipeline, self.settings)

    def put(self, text: str) -> None:
        reading = read_documents(text)
        assert not reading.problems, reading.problems
        self.put_all(each.manifest for each in reading.documents)

    def put_all(self, manifests: Iterable[Manifest | MeshConfig]) -> None:
        with self.pipeline.graph.transaction():
            for manifest in manifests:
                place = input_of(self.pipeline.inputs, identity_of(manifest))
                if place is not None:
                    place[0].put(manifest)

    def of(self, judged: str | Json | None, old: str | Json | None = None, **more: Any) -> Verdict:
        """Judge an object; with ``old``, as what it is updated to."""
        new = document(judged) if isinstance(judged, str) else judged
        before = document(old) if isinstance(old, str) else old
        operation = more.pop("operation", "CREATE" if before is None else "UPDATE")
        return self.judge.judge(request_of(a_review(new, operation=operation, old=before, **more)))


def request_of(review: Json) -> ReviewRequest:
    return read_review(body_of(review))


@dataclass
class Seen:
    """An observer that remembers."""

    passes: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def passed(self, group: str, resource: str) -> None:
        self.passes.append((group, resource))

    def failed(self, group: str, resource: str, reason: str) -> None:
        self.failures.append((group, resource, reason))

    def http_error(self, status: int) -> None:
        self.statuses.append(status)


class Issuer:
    """A root that certifies serving keys."""

    def __init__(self, name: str = "root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._root = self._certified(self._name, self._key.public_key(), (), is_root=True)
        self.root_pem = self._root.public_bytes(Encoding.PEM)

    def served(
        self, *names: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
    ) -> tuple[bytes, bytes]:
        """PEM of a new chain and its key, for ``names``."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = self._certified(x509.Name([]), key.public_key(), names, is_root=False)
        return leaf.public_bytes(Encoding.PEM), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    def _certified(
        self, subject: x509.Name, key: Any, names: Iterable[str], *, is_root: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        )
        if not is_root:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            builder = builder.add_extension(alternatives, critical=True)
        return builder.sign(self._key, hashes.SHA256())
