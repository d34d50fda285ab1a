"""The address of a visitor behind proxies: X-Forwarded-For counts only where a trusted proxy wrote it."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import gradio as gr

from understudy.errors import ConfigError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
CUSTOMER_PREFIX = 64
"""Bits of an IPv6 address that a provider gives to one customer; the customer chooses the rest freely."""
NAMED_NETWORKS = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
}


def networks(setting: str) -> tuple[Network, ...]:
    """Reads the setting `trusted_proxies`: networks, `loopback` and `private`, separated by commas.

    Raises:
        ConfigError: a part is none of these.
    """
    found: list[Network] = []
    for part in filter(None, (part.strip() for part in setting.split(","))):
        for name in NAMED_NETWORKS.get(part, (part,)):
            try:
                found.append(ipaddress.ip_network(name, strict=False))
            except ValueError as error:
                known = ", ".join(NAMED_NETWORKS)
                raise ConfigError(
                    f"trusted_proxies (UNDERSTUDY_TRUSTED_PROXIES) {part!r}: {error}; write a network such as "
                    f"10.0.0.0/8, or {known}"
                ) from error
    return tuple(found)


LOOPBACK = networks("loopback")


def client_address(request: gr.Request, trusted: Sequence[Network]) -> str:
    """The address that the request came from; "" where it is not known.

    It is the peer of the connection, unless that is a trusted proxy: then it is the last address of X-Forwarded-For
    that is not a trusted proxy, because everything to the left of it may be made up. For IPv6 it is the customer's
    network.
    """
    inner = getattr(request, "request", None)
    peer = getattr(getattr(inner, "client", None), "host", "") or ""
    headers = getattr(inner, "headers", None) or {}
    forwarded = str(headers.get("x-forwarded-for", "")).split(",")
    return _first_outside([peer, *reversed([hop.strip() for hop in forwarded])], trusted)


def _first_outside(hops: Iterable[str], trusted: Sequence[Network]) -> str:
    """The first of these hops, nearest first, that is not a trusted proxy; else the last one that is an address."""
    last = ""
    for hop in hops:
        try:
            address = ipaddress.ip_address(hop)
        except ValueError:
            break  # no proxy wrote this, so no proxy vouches for what follows
        address = getattr(address, "ipv4_mapped", None) or address
        last = str(ipaddress.ip_network((address, CUSTOMER_PREFIX), strict=False) if address.version == 6 else address)
        if not any(address in network for network in trusted if network.version == address.version):
            break
    return last
