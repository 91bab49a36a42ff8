"""IP addresses that no web source may lead to, unless the installation allows their network.

Whoever writes a run conf would otherwise read, through a worker, what only the worker's own network can reach. Sources:
the special-purpose address registries of IANA (RFC 6890), RFC 6598 (carrier-grade NAT), RFC 6052 (NAT64), RFC 3056
(6to4).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from include.datasets.errors import DatasetError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

METADATA = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/64",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure, though it is one of the public internet
        "192.0.0.192/32",  # Oracle
    )
)
"""Where machines in a cloud find their credentials: read for nobody, whatever the installation allows."""
CARRIER_GRADE_NAT = ip_network("100.64.0.0/10")
NAT64 = ip_network("64:ff9b::/96")
ENDING_IN_IPV4 = tuple(ip_network(network) for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48"))
"""Networks whose addresses a network may translate to the IPv4 address that they end in (RFC 4291, 2765, 8215)."""


def refuse_internal_address(host: str, ip: str, allowed: Sequence[Network] = ()) -> None:
    """Raise DatasetError for an IP address that is not one of the public internet, nor of an allowed network.

    `host` is what the address was written as. Raises ValueError where `ip` is no IP address.
    """
    address = _meant(ip_address(ip.partition("%")[0]))
    if _in(address, METADATA) or (_in(address, ENDING_IN_IPV4) and _in(_last_four_bytes(address), METADATA)):
        raise DatasetError(
            f"dataset.source leads to {host} ({ip}), an address under which machines find their credentials: "
            "it is never read; name the server that holds the data"
        )
    kind = _kind(address)
    if kind and not _in(address, allowed):
        raise DatasetError(
            f"dataset.source leads to {host} ({ip}), {kind}, and this installation reads the public internet only: put "
            f'the file into S3, or allow its network in the setting source_networks, as in ["{_network_of(address)}"]'
        )


def _meant(address: Address) -> Address:
    """The IPv4 address behind one of IPv6 that stands for it."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return _last_four_bytes(address)
    return address.ipv4_mapped or address.sixtofour or address


def _last_four_bytes(address: Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: Address) -> str:
    """What is internal about an address, in words; empty where it is public."""
    kinds = {
        "the machine itself": address.is_loopback or address.is_unspecified,
        "a link-local address": address.is_link_local,
        "an address of a carrier's own network": _in(address, [CARRIER_GRADE_NAT]),
        "a multicast address": address.is_multicast,
        "a private address": address.is_private or getattr(address, "is_site_local", False),
        "a reserved address": address.is_reserved or not address.is_global,
    }
    return next((kind for kind, applies in kinds.items() if applies), "")


def _in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _network_of(address: Address) -> str:
    if address.is_loopback:
        return "127.0.0.0/8" if address.version == 4 else "::1/128"
    return f"{address}/{address.max_prefixlen}"
