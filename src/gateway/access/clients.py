"""Finds the client that a request comes from, behind proxies that are trusted to name it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice

_Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_HOPS = 32
_CACHED = 16_384
# Longer than any IPv6 address with a zone, so that a client cannot fill the cache with long texts.
_LONGEST = 64
_MAPPED_BITS = 96
_SITE_BITS = 64


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address in its shortest form, without a zone, which has no meaning on another host (RFC 4007 §6).

    `forwarded_for` are the values of `X-Forwarded-For`. They are read from the right, only as far as trusted proxies
    wrote them.
    """
    client = peer
    for hop in islice(_hops(forwarded_for), _MOST_HOPS):
        if not is_trusted(client, trusted) or _parse(hop) is None:
            break
        client = hop
    return _plain(client)


@lru_cache(_CACHED)
def bucket(client: str) -> str:
    """Requests are counted by IPv4 address, or by IPv6 network of /64, because one client may own all of it."""
    address = _parse(client)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> _SITE_BITS << _SITE_BITS, _SITE_BITS)))
    return client


def holder(peer: str, trusted: Sequence[Network]) -> str | None:
    """Whom a connection is counted for; None for a trusted proxy, which brings many clients."""
    return None if is_trusted(peer, trusted) else bucket(_plain(peer))


def parse_networks(text: str) -> tuple[Network, ...]:
    """Reads addresses and CIDR blocks, separated by commas. Raises ValueError with all problems, one a line."""
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
    """The nearest hop comes first; a later header continues an earlier one (RFC 9110 §5.3)."""
    for value in reversed(forwarded_for):
        for hop in reversed(value.rsplit(",", _MOST_HOPS)):
            yield hop.strip(" \t")


def is_trusted(text: str, trusted: Sequence[Network]) -> bool:
    address = _parse(text)
    return address is not None and any(address in network for network in trusted)


def _parse(text: str) -> _Address | None:
    return _parse_short(text) if len(text) <= _LONGEST else None


@lru_cache(_CACHED)
def _parse_short(text: str) -> _Address | None:
    """An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) counts as the IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


@lru_cache(_CACHED)
def _plain(text: str) -> str:
    """A peer without an IP address, as on a Unix socket, stays as it is."""
    address = _parse(text)
    return text if address is None else str(type(address)(int(address)))


def _unmapped(network: Network) -> Network:
    """Turns an IPv4-mapped network into IPv4, as `_parse_short` does. Its prefix has at least 96 bits."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
