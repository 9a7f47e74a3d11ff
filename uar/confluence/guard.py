"""Where a token may go: to the configured site only, encrypted, and to no machine inside the network unless the settings mean one.

The address is checked on the open connection, before a byte is sent: what a name resolves to can differ between two look-ups, and
notations such as `127.1` or `2130706433` are no addresses for `ipaddress` and yet reach this machine.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import SplitResult, urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from uar.confluence.errors import UnsafeAddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# Translated addresses carry an IPv4 address in their last four bytes (rfc-editor.org/rfc/rfc6052).
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Guard:
    """What one site's connections are held to. `is_inside_allowed`: Data Center may stand in a private network, Cloud does not."""

    def __init__(self, base_url: str, *, is_inside_allowed: bool) -> None:
        self.parts: SplitResult = urlsplit(base_url)
        self.is_inside_allowed = is_inside_allowed

    def check_peer(self, address: str) -> None:
        """Raises `UnsafeAddress` unless the token may go to the machine at `address`."""
        peer = plain_address(address)
        if peer.is_loopback:
            return
        if self.parts.scheme != "https" and not (self.is_inside_allowed and peer.is_private):
            raise UnsafeAddress(
                f"{self.parts.hostname} is set with http://, which would send the token unencrypted: set an https:// address in "
                "UAR_CONFLUENCE_URLS (http:// is for this machine, and for a Data Center in a private network)."
            )
        if peer.is_link_local or peer.is_multicast or peer.is_unspecified or peer.is_reserved:
            raise UnsafeAddress(
                f"{self.parts.hostname} leads to an address that no Confluence site can have: check UAR_CONFLUENCE_URLS and the DNS."
            )
        if peer.is_private and not self.is_inside_allowed:
            raise UnsafeAddress(
                f"{self.parts.hostname} leads into a private network, but the credentials (email:token) are those of a Cloud site: check "
                "UAR_CONFLUENCE_URLS, or give a personal access token if it is a Data Center."
            )


def plain_address(text: str) -> IPAddress:
    """An address without the wrappings in which IPv6 carries IPv4, and without a zone."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_this_machine(host: str) -> bool:
    """Whether the host is written as this machine, so that no proxy must be asked."""
    if host == "localhost":
        return True
    try:
        return plain_address(host).is_loopback
    except ValueError:
        return False


class GuardedAdapter(HTTPAdapter):
    """A transport of `requests` that looks at the other end of each new connection. Through a proxy it sees the proxy, and lets it pass."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools of connections that are checked."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = _checked_pools(self._guard)


def _checked_pools(guard: Guard) -> dict[str, Any]:
    class CheckedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), guard)

    class CheckedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), guard)

    class CheckedHTTPPool(HTTPConnectionPool):
        ConnectionCls = CheckedHTTPConnection

    class CheckedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = CheckedHTTPSConnection

    return {"http": CheckedHTTPPool, "https": CheckedHTTPSPool}


def _checked(connection: socket.socket, guard: Guard) -> socket.socket:
    try:
        guard.check_peer(connection.getpeername()[0])
    except BaseException:
        connection.close()
        raise
    return connection
