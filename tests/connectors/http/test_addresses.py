"""Which addresses are public, whatever they are wrapped in."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.connectors.http.addresses import Allowance, public

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2001:0:a00:1::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_refused(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, and IPv6 forms that stand for such: none may be asked."""
    assert not Allowance(()).permits("host.example", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may_be_asked(address: str) -> None:
    """An address of the internet needs no rule."""
    assert Allowance(()).permits("host.example", address)


@given(st.ip_addresses(v=4))
def test_an_embedding_is_never_more_public_than_what_it_stands_for(inner: ipaddress.IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 forms of a private address are as private as it is."""
    number = int(inner)
    forms = [(0xFFFF << 32) | number, (0x2002 << 112) | (number << 80), (0x64FF9B << 96) | number, number]
    for form in forms:
        assert not public(ipaddress.IPv6Address(form)) or public(inner)


def test_a_network_that_is_allowed_may_be_asked() -> None:
    """CIDR networks, single addresses, and IPv4 ones in their mapped form; their neighbours may not."""
    rule = Allowance(("10.1.0.0/16", "192.168.7.7", "fd00:1::/32"))
    assert rule.permits("x", "10.1.255.1") and rule.permits("x", "192.168.7.7") and rule.permits("x", "fd00:1::9")
    assert rule.permits("x", "::ffff:10.1.2.3")
    assert not rule.permits("x", "10.2.0.1") and not rule.permits("x", "192.168.7.8")


def test_a_host_that_is_allowed_may_be_anywhere() -> None:
    """A name in the rule goes for that name only, in any case and with or without its last dot."""
    rule = Allowance(("Wiki.Corp.Example",))
    assert rule.permits("wiki.corp.example.", "10.0.0.1")
    assert not rule.permits("evil.wiki.corp.example", "10.0.0.1")
    assert not rule.permits("corp.example", "10.0.0.1")


def test_an_empty_rule_is_refused() -> None:
    """An empty entry is a mistake to be told, not a rule that matches nothing."""
    with pytest.raises(ValueError, match=r"network\.allow"):
        Allowance(("10.0.0.0/8", " "))


def test_what_is_no_address_is_refused() -> None:
    """A resolver that gives nonsense opens no door."""
    assert not Allowance(("10.0.0.0/8",)).permits("x", "not an address")
