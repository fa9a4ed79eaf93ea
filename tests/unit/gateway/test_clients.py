from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.clients import Network, bucket, client_address, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 192.0.2.7, fd00::/8")
ADDRESSES = st.ip_addresses().map(str)
PROXIES = st.ip_addresses(network="10.0.0.0/8").map(str) | st.ip_addresses(network="fd00::/8").map(str)
GARBAGE = st.sampled_from(["", "unknown", "_hidden", "203.0.113.1:443", "[2001:db8::1]", "256.1.1.1", "1", "٣.1.1.1"])
# Longer than the 32 hops that are followed.
LONG_CHAIN = [f"10.0.0.{number}" for number in range(200, 100, -1)]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # the peer is not trusted
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.7", ["203.0.113.9"], "203.0.113.9"),
        ("192.0.2.8", ["203.0.113.9"], "192.0.2.8"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the client invented the left one
        ("10.0.0.1", ["203.0.113.9,10.9.9.9 ,\tfd00::1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.9, 10.0.0.2", "10.0.0.3"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9, "], "10.0.0.1"),
        ("10.0.0.1", [",".join(LONG_CHAIN)], "10.0.0.132"),
        ("10.0.0.1", LONG_CHAIN, "10.0.0.132"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2:3:4:5:6"),
        ("fd00::1", ["2001:0DB8::0:1"], "2001:db8::1"),
        ("fd00::1", ["203.0.113.9, fe80::1%" + "a" * 56], "fe80::1"),
        ("fd00::1", ["203.0.113.9, fe80::1%" + "a" * 57], "fd00::1"),  # too long for an address
        ("fe80::1%eth0", ["203.0.113.9"], "fe80::1"),
        ("", ["203.0.113.9"], ""),  # a Unix socket
    ],
)
def test_the_client_is_the_first_untrusted_from_the_right(peer: str, forwarded_for: list[str], expected: str) -> None:
    assert expected == client_address(peer, forwarded_for, TRUSTED)


@given(
    st.lists(ADDRESSES | GARBAGE | st.text(st.characters(codec="ascii"))),
    st.ip_addresses(network="203.0.113.0/24").map(str),
    st.lists(PROXIES, min_size=1, max_size=8),
    st.booleans(),
)
def test_what_a_client_writes_changes_nothing(
    invented: list[str], client: str, proxies: list[str], in_one_header: bool
) -> None:
    chain = [*invented, client, *proxies[1:]]
    forwarded_for = [", ".join(chain)] if in_one_header else chain
    assert client == client_address(proxies[0], forwarded_for, TRUSTED)
    assert client_address(proxies[0], [], ()) == client_address(proxies[0], forwarded_for, ())


@given(st.integers(2**64, 2**128 - 1), st.integers(0, 2**64 - 1))
def test_ipv6_clients_are_counted_by_64_bits(address: int, host: int) -> None:
    neighbour = IPv6Address(address >> 64 << 64 | host)
    counted = bucket(str(IPv6Address(address)))
    assert counted == bucket(str(neighbour))
    assert (neighbour in ip_network(counted), ip_network(counted).prefixlen) == (True, 64)


@pytest.mark.parametrize("client", ["192.0.2.1", ""])
def test_other_clients_are_counted_one_by_one(client: str) -> None:
    assert client == bucket(client)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ("10.0.0.1", (ip_network("10.0.0.1/32"),)),
        (" 10.0.0.0/8 ,fd00::/8,::1,", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("::1/128"))),
        ("::ffff:10.0.0.0/104", (ip_network("10.0.0.0/8"),)),
        ("::ffff:10.0.0.1", (ip_network("10.0.0.1/32"),)),
        ("::ffff:0:0/96", (ip_network("0.0.0.0/0"),)),
        ("::/95", (ip_network("::/95"),)),
        ("::/0", (ip_network("::/0"),)),
    ],
)
def test_networks_are_addresses_or_blocks(text: str, expected: Sequence[Network]) -> None:
    assert expected == parse_networks(text)


def test_all_problems_of_networks_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="entry") as caught:
        parse_networks("10.0.0.1/8, 10.0.0.0/8, proxy.local, 10.0.0.0/33")
    expected = [
        f"entry {number} must be an IP address, or a network without bits set after its prefix" for number in (1, 3, 4)
    ]
    assert expected == str(caught.value).splitlines()
