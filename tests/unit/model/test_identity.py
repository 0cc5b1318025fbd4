import pytest

from controlplane.model.identity import Identity


@pytest.mark.proves("CA-11")
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("spiffe://cluster.local/ns/shop/sa/cart", ("cluster.local", "shop", "cart")),
        ("spiffe://a_b-c.9/ns/a/sa/a.b-c.d", ("a_b-c.9", "a", "a.b-c.d")),
        (
            f"spiffe://{'t' * 255}/ns/{'n' * 63}/sa/{'s' * 253}",
            ("t" * 255, "n" * 63, "s" * 253),
        ),
    ],
)
def test_identities_that_parse(text: str, parts: tuple[str, str, str]) -> None:
    identity = Identity.parse(text)
    assert identity is not None
    assert (identity.trust_domain, identity.namespace, identity.service_account) == parts
    assert str(identity) == text


@pytest.mark.refutes("CA-11")
@pytest.mark.parametrize(
    "text",
    [
        f"spiffe://{'t' * 256}/ns/n/sa/s",
        f"spiffe://t/ns/{'n' * 64}/sa/s",
        f"spiffe://t/ns/n/sa/{'s' * 254}",
        "spiffe://t/ns/n/sa/s" + "s" * 3000,
        "spiffe://t/ns/n.m/sa/s",
        "spiffe://t/ns/-n/sa/s",
        "spiffe://t/ns/n/sa/s.",
        "spiffe://t/ns/n/sa/s..s",
        "spiffe://t/ns/n/sa/s_s",
        "spiffe://T/ns/n/sa/s",
        "spiffe:///ns/n/sa/s",
        "spiffe://t/NS/n/sa/s",
        "spiffe://t/ns/n/sa/s ",
        " spiffe://t/ns/n/sa/s",
        "spiffe://t/ns/n/sa/s\n",
        "spiffe://t/ns/n/sa/\u0661",
        "https://t/ns/n/sa/s",
    ],
)
def test_texts_that_are_no_identity(text: str) -> None:
    assert Identity.parse(text) is None


@pytest.mark.parametrize(
    "parts", [("a,b", "n", "s"), ("t", "n/x", "s"), ("t", "n", "s/x"), ("", "n", "s")]
)
def test_an_identity_outside_the_grammar_cannot_be_made(parts: tuple[str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"^not a"):
        Identity(trust_domain=parts[0], namespace=parts[1], service_account=parts[2])
