import pytest

from controlplane.sources.key_sets.addresses import is_near


@pytest.mark.proves("RA-22")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "0.0.0.0",  # noqa: S104 - nothing listens
        "::",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "localhost",
        "",
        "127.1",
    ],
)
def test_near(address: str) -> None:
    assert is_near(address)


@pytest.mark.refutes("RA-22")
@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "93.184.215.14", "fd12:3456::1", "2606:2800::1", "::ffff:10.0.0.1"],
)
def test_not_near(address: str) -> None:
    assert not is_near(address)
