"""Loopback names and addresses, and connections to them where a proxy is set."""

import os
import re
from ipaddress import IPv6Address, ip_address

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+?)\.?(:\d*)?")


def exempt_loopback_from_proxy() -> None:
    """Add the loopback names to NO_PROXY, for this process and those that it starts.

    A proxy cannot reach this machine's own servers: H2O, or a tracking server on 127.0.0.1.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" in names:
        return
    exempt = ",".join(dict.fromkeys([*names, *LOOPBACK]))
    # Libraries differ in which of the two they read.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = exempt


def host_name(host: str) -> str | None:
    """Return the name in a header Host or a setting, in lower case and without a port.

    None if it is not a host.
    """
    found = HOST.fullmatch(host.strip().lower())
    return found[1] if found else None


def is_loopback(text: str) -> bool:
    """Return whether a text is an address in 127.0.0.0/8 or ::1."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
