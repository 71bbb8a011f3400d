"""Access without API keys: from this machine, unless MLPIPES_HOSTS names other hosts.

A page on the Internet can let its own name point to 127.0.0.1 (DNS rebinding); the browser then
takes the service for a part of that page. The name it asked for is in the header Host.
"""

from collections.abc import Sequence
from functools import lru_cache

from serving.loopback import host_name, is_loopback

REMEMBERED = 1_024

# Host and port of a socket; a Unix socket has a path and no port.
Address = tuple[str, int | None]


class OpenAccess:
    """The rule for requests to a service without keys."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = frozenset(hosts)
        # Neither varies much: parsing addresses takes longer than the rest of the rule.
        self._answers_at = lru_cache(REMEMBERED)(self._answers_at_address)
        self._answers_to = lru_cache(REMEMBERED)(self._answers_to_name)

    def refusal(self, server: Address, host: bytes, any_name: bool) -> str | None:
        """Return why a request is refused, None if it is answered.

        Args:
            server: the local address of the connection.
            host: the header Host.
            any_name: whether the route is answered under any name.
        """
        if not self._answers_at(server):
            return (
                "without API keys, only connections from this machine are answered: "
                "set MLPIPES_API_KEYS, or MLPIPES_HOSTS to the names of this service"
            )
        if not any_name and not self._answers_to(host):
            return (
                "Host: without API keys, only localhost, 127.0.0.1 and [::1] are answered, and "
                "the names in MLPIPES_HOSTS"
            )
        return None

    def describe(self) -> str:
        """Return the rule as a sentence for the log."""
        if not self._hosts:
            return (
                "no API keys: accepting only loopback connections addressed to localhost; "
                "to serve others set MLPIPES_API_KEYS, or MLPIPES_HOSTS to the names of this "
                "service"
            )
        names = ", ".join(["localhost", *sorted(self._hosts)])
        return f"no API keys: everyone who can connect is answered, under the names {names}"

    def _answers_at_address(self, server: Address) -> bool:
        if self._hosts or server[1] is None:
            return True
        return is_loopback(server[0])

    def _answers_to_name(self, host: bytes) -> bool:
        name = host_name(host.decode("latin-1"))
        if name is None:
            return False
        return name == "localhost" or name in self._hosts or is_loopback(name.strip("[]"))
