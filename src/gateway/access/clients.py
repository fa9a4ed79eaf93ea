"""Whom a request comes from, through proxies that may be trusted to say so."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_HOPS = 32
_CACHED = 16_384
# An IPv6 address with a zone; nothing longer is kept in the cache.
_LONGEST = 64
_MAPPED_BITS = 96
_SITE_BITS = 64


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """In its shortest form, and without a zone, which means nothing elsewhere (RFC 4007 §6).

    `forwarded_for` are the values of `X-Forwarded-For`, read from the right only as far as trusted proxies wrote them.
    """
    client = peer
    for hop in islice(_hops(forwarded_for), _MOST_HOPS):
        if not _is_trusted(client, trusted) or _parse(hop) is None:
            break
        client = hop
    return _plain(client)


@lru_cache(_CACHED)
def bucket(client: str) -> str:
    """What requests are counted by: an IPv4 address, or an IPv6 network of /64, as a client may have all of one."""
    address = _parse(client)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> _SITE_BITS << _SITE_BITS, _SITE_BITS)))
    return client


def parse_networks(text: str) -> tuple[Network, ...]:
    """Of addresses and CIDR blocks with commas between. Raises ValueError with all problems, one a line."""
    networks: list[Network] = []
    problems = []
    for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        try:
            networks.append(_unmapped(ip_network(entry)))
        except ValueError:
            problems.append(f"entry {number} must be an IP address, or a network without bits set after its prefix")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(networks)


def _hops(forwarded_for: Sequence[str]) -> Iterator[str]:
    """The nearest first; a later header continues an earlier one (RFC 9110 §5.3)."""
    for value in reversed(forwarded_for):
        for hop in reversed(value.rsplit(",", _MOST_HOPS)):
            yield hop.strip(" \t")


def _is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    address = _parse(text)
    return address is not None and any(address in network for network in trusted)


def _parse(text: str) -> Address | None:
    return _parse_short(text) if len(text) <= _LONGEST else None


@lru_cache(_CACHED)
def _parse_short(text: str) -> Address | None:
    """An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


@lru_cache(_CACHED)
def _plain(text: str) -> str:
    """A peer that has no IP address, as on a Unix socket, is itself."""
    address = _parse(text)
    return text if address is None else str(type(address)(int(address)))


def _unmapped(network: Network) -> Network:
    """As addresses are: IPv4 where it is mapped into IPv6. No shorter prefix than 96 has such a first address."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
