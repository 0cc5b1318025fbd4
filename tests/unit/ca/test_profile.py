import pytest
from cryptography import x509

from controlplane.ca.profile import Profile, key_usage_for
from tests.support.authorities import a_key
from tests.support.issuing import SHOP


@pytest.mark.proves("CA-25")
def test_only_rsa_keys_are_encrypted_to() -> None:
    assert key_usage_for(a_key("RSA-2048").public_key()).key_encipherment


@pytest.mark.refutes("CA-25")
@pytest.mark.parametrize("kind", ["P-256", "P-384"])
def test_other_keys_are_not(kind: str) -> None:
    assert not key_usage_for(a_key(kind).public_key()).key_encipherment


@pytest.mark.proves("CA-28")
def test_names_by_profile() -> None:
    assert Profile.for_workload(SHOP).names == (x509.UniformResourceIdentifier(str(SHOP)),)
    hosts = ("istiod.istio-system.svc", "localhost")
    assert Profile.for_serving(hosts).names == tuple(map(x509.DNSName, hosts))


@pytest.mark.refutes("CA-28", "CA-24")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"identity": SHOP, "host_names": ("a.b",)},
        {"host_names": ("",)},
        {"host_names": ("a.b\n",)},
        {"host_names": ("10.0.0.1,b",)},
        {"host_names": ("*.b",)},
        {"host_names": ("UPPER",)},
        {"host_names": ("a" * 64,)},
        {"host_names": (".".join(["a" * 60] * 5),)},
    ],
)
def test_profiles_that_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"certificate is for|host name"):
        Profile(**fields)  # type: ignore[arg-type]
