"""Protects the service's own network from URLs that clients give, and limits the time of an exchange.

A name is resolved once per connection, all its addresses are checked, and the connection goes to one of those
very addresses; so a name that changes its mind in between gains nothing. One deadline covers the whole
exchange, however slowly single bytes arrive.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import httpcore

Resolve = Callable[[str, int], list[str]]

# The global unicast range of IPv6. Ranges that map or translate IPv4 are outside it or listed below.
_GLOBAL_UNICAST = ip_network("2000::/3")
_SPECIAL = tuple(
    map(
        ip_network,
        (
            # Ranges that `is_global` of some Python versions accepts: shared address space, protocol
            # assignments with Teredo, 6to4 and its relays, documentation.
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            # Azure's internal services, although the registries list the address as public.
            "168.63.129.16/32",
        ),
    )
)


class PrivateAddress(Exception):
    """The name has an address that is not public."""


class Unresolvable(Exception):
    """The name has no address."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which to try them. Raises OSError or UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether the address belongs to a single host on the public internet.

    The addresses of cloud metadata services are not public.
    """
    address = ip_address(text)
    if not isinstance(address, IPv4Address):
        if address.ipv4_mapped:
            return is_public(str(address.ipv4_mapped))
        if address not in _GLOBAL_UNICAST:
            return False
    unusual = address.is_multicast or address.is_reserved or any(address in network for network in _SPECIAL)
    return address.is_global and not unusual


class Deadline:
    """The time at which an exchange must have ended."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left. Raises httpcore.TimeoutException if none are."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise httpcore.TimeoutException
        return seconds


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only, and only until the deadline."""

    def __init__(self, deadline: Deadline, resolve: Resolve, *, allow_private: bool) -> None:
        self._deadline = deadline
        self._resolve = resolve
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that accepts it. Raises PrivateAddress, Unresolvable."""
        addresses = self._addresses(host, port)
        for number, address in enumerate(addresses, start=1):
            share = self._deadline.left() / (len(addresses) - number + 1)
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _Stream(stream, self._deadline)
        raise Unresolvable

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise Unresolvable from error
        if not self._allow_private and not all(map(is_public, addresses)):
            raise PrivateAddress
        return addresses


class _Stream(httpcore.NetworkStream):
    """A connection on which no wait exceeds the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Reads up to `max_bytes` bytes."""
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Writes all bytes."""
        connected: socket.socket = self._inner.get_extra_info("socket")
        rest = memoryview(buffer)
        try:
            while rest:
                connected.settimeout(self._deadline.left())
                rest = rest[connected.send(rest) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError from error

    def close(self) -> None:
        """Closes the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection with TLS."""
        stream = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """A property of the connection, as httpcore defines it."""
        return self._inner.get_extra_info(info)
