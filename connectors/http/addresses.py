"""Which addresses may be asked: those of the public internet, and those that the source's rules allow.

The judgement is about addresses as they came out of DNS, so that no spelling of a host (decimal, octal, a name that
points home) makes a difference.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = ipaddress.IPv6Network("::/96")
NEVER_PUBLIC = (
    ipaddress.ip_network("0.0.0.0/8"),
    ipaddress.ip_network("100.64.0.0/10"),
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
    ipaddress.ip_network("198.18.0.0/15"),
    ipaddress.ip_network("240.0.0.0/4"),
    ipaddress.ip_network("100::/64"),
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("fec0::/10"),
)
"""Said here as well as by `ipaddress`, whose tables differ from one patch release of Python to the next."""


def embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in COMPATIBLE or any(address in network for network in NAT64):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [found for found in inner if found is not None]


def public(address: Address) -> bool:
    """Whether anybody on the internet could ask it too, by every address that it stands for."""
    inner = embedded(address)
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    own = mapped or (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback)
        and not any(address in network for network in NEVER_PUBLIC)
    )
    nat64 = any(address in network for network in NAT64[:1])
    return (own or nat64) and all(public(found) for found in inner)


class Allowance:
    """The rule of one source: public addresses, and what `network.allow` names."""

    def __init__(self, allow: Iterable[str]) -> None:
        """`allow`: networks in CIDR form, single addresses, host names. Raises `ValueError` for what is neither."""
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allow:
            if not entry.strip():
                raise ValueError("network.allow: an entry is empty; write a network such as 10.0.0.0/8 or a host name")
            try:
                self._networks.append(ipaddress.ip_network(entry.strip(), strict=False))
            except ValueError:
                if "/" in entry:
                    raise ValueError(f"network.allow: {entry} is no network; write one such as 10.0.0.0/8") from None
                self._hosts.add(plain(entry))

    def permits(self, host: str, address: str) -> bool:
        """Whether `address`, which the name `host` led to, may be connected to."""
        if plain(host) in self._hosts:
            return True
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return public(found) or any((mapped or found) in network for network in self._networks)


def plain(host: str) -> str:
    """A host name as it is compared."""
    return host.strip().rstrip(".").lower()
