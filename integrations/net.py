"""Outgoing connections: which addresses may be reached, and the sessions that obey."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, override
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager

CACHE_SECONDS = 60.0
"""How long the checked addresses of a host are reused, without asking DNS again."""
_CACHED_HOSTS_AT_MOST = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
_HOST = re.compile(r"^[\w.-]{1,253}$")

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Resolver = Callable[[str], Sequence[str]]
"""Host name -> addresses as text. Raises OSError when the host is not known."""


class ForbiddenAddress(ValueError):
    """The address must not be reached from here: a setting to correct, not a thing to repeat."""


class HostNotFound(ForbiddenAddress):
    """The name does not resolve now: a typing error, or DNS is in trouble."""


def system_resolver(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


class AddressGuard:
    """Keeps requests to addresses given by strangers away from our own network (SSRF).

    Without `allow_private` only https and public addresses pass. With it http, loopback and
    private networks pass as well; link-local ones (cloud metadata), multicast and 0.0.0.0 never do.
    What was checked is what is connected to: `resolve` hands out addresses, and the sessions of
    `open_session` connect to these and ask DNS nothing more, so a name that changes
    its address between check and use (DNS rebinding) gains nothing.
    """

    def __init__(self, allow_private: bool = False, *, resolver: Resolver = system_resolver):
        self.allow_private = allow_private
        self._resolver = resolver
        self._checked: dict[str, tuple[float, list[str]]] = {}

    def check(self, url: str) -> None:
        """Raises: ForbiddenAddress (its text is fit for an admin's eyes), HostNotFound."""
        self.check_host(self.check_form(url))

    def check_form(self, url: str) -> str:
        """The host of an acceptable URL, judged by its form alone: no DNS. Raises: as `check`."""
        parts = _split(url)
        if parts.scheme != "https" and not (self.allow_private and parts.scheme == "http"):
            raise ForbiddenAddress("the address must start with https://")
        if parts.username is not None or parts.password is not None:
            raise ForbiddenAddress("the address must not contain a user name or password")
        host = parts.hostname or ""
        address = _literal(host)
        if address is None and not _HOST.match(host):
            raise ForbiddenAddress("the address has no valid host name")
        if address is None and _ENDS_IN_A_NUMBER.search(host):
            # 2130706433, 0177.0.0.1, 0x7f.1: forms that only hide where they lead
            raise ForbiddenAddress("the address must give an IP in its usual form")
        if address is not None:
            self._check_address(host, address)
        return host

    def check_host(self, host: str) -> None:
        """Raises: ForbiddenAddress, HostNotFound. The verdict is kept for `CACHE_SECONDS`."""
        self.resolve(host)

    def resolve(self, host: str, port: int | None = None) -> list[str]:
        """Checked addresses to connect to, in the resolver's order. One bad address refuses all.

        `port` is accepted for the sake of network backends and changes nothing.
        Blocks on DNS; in async code use `resolve_async`. Raises: ForbiddenAddress, HostNotFound.
        """
        host = host.strip("[]").lower()
        known = self._checked.get(host)
        if known and known[0] > time.monotonic():
            return known[1]
        try:
            texts = [host] if _literal(host) else list(self._resolver(host))
        except (OSError, UnicodeError):
            texts = []
        if not texts:
            raise HostNotFound(f"the host {host[:100]} was not found")
        for text in texts:
            address = _literal(text)
            if address is None:
                raise ForbiddenAddress(f"the host {host[:100]} has an unreadable address")
            self._check_address(host, address)
        if len(self._checked) >= _CACHED_HOSTS_AT_MOST:
            self._checked.clear()
        self._checked[host] = (time.monotonic() + CACHE_SECONDS, texts)
        return texts

    async def resolve_async(self, host: str, port: int | None = None) -> list[str]:
        """`resolve` for an event loop: DNS waits in a thread."""
        known = self._checked.get(host.strip("[]").lower())
        if known and known[0] > time.monotonic():
            return known[1]
        return await asyncio.get_running_loop().run_in_executor(None, self.resolve, host)

    def forget(self, host: str) -> None:
        """Asks DNS again next time: none of the known addresses could be reached."""
        self._checked.pop(host.strip("[]").lower(), None)

    def _check_address(self, host: str, address: Address) -> None:
        for one in (address, *_embedded(address)):
            if one.is_multicast or one.is_unspecified or one.is_link_local:
                raise ForbiddenAddress(f"{host[:100]} leads to an address that is never allowed")
            if not one.is_global and not self.allow_private:
                raise ForbiddenAddress(f"{host[:100]} leads to a private network")


def _split(url: str) -> SplitResult:
    if len(url) > 4000 or "\\" in url or any(c.isspace() or ord(c) < 32 for c in url):
        raise ForbiddenAddress("the address contains characters that do not belong there")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ForbiddenAddress("the address is malformed") from None
    return parts


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _embedded(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 one leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo:
        found.extend(address.teredo)
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _connect(guard: AddressGuard, connection: HTTPConnection) -> socket.socket:
    """A socket to one of the checked addresses of the connection's host."""
    host, port = connection.host, connection.port or connection.default_port
    try:
        addresses = guard.resolve(host, port)
    except HostNotFound:
        reason = socket.gaierror(socket.EAI_NONAME, "host not found")
        raise NameResolutionError(host, connection, reason) from None
    timed_out = False
    timeout = connection.timeout
    for address in addresses:
        try:
            opened = socket.create_connection(
                (address, port),
                timeout=timeout if isinstance(timeout, int | float) else None,
                source_address=connection.source_address,
            )
        except OSError as error:
            timed_out = isinstance(error, TimeoutError)
            continue
        for option in connection.socket_options or ():
            opened.setsockopt(*option)
        return opened
    guard.forget(host)
    if timed_out:
        raise ConnectTimeoutError(connection, f"connecting to {host} timed out")
    raise NewConnectionError(connection, f"cannot connect to {host}")


def _guarded_pools(guard: AddressGuard) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        @override
        def _new_conn(self) -> socket.socket:
            return _connect(guard, self)

    class Secure(HTTPSConnection):
        @override
        def _new_conn(self) -> socket.socket:
            return _connect(guard, self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class GuardedAdapter(HTTPAdapter):
    """Connects to checked addresses only, whatever DNS or a redirect says. Never repeats."""

    def __init__(self, guard: AddressGuard, *, pool_size: int, hosts: int = 256) -> None:
        self._guard = guard
        super().__init__(pool_connections=hosts, pool_maxsize=pool_size, max_retries=0)

    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _guarded_pools(self._guard)

    @override
    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        self._guard.check_form(request.url or "")
        return super().send(request, *args, **kwargs)


def open_session(
    pool_size: int, *, guard: AddressGuard, ca_bundle: str | None = None
) -> requests.Session:
    """One per process, shared by all threads: pooled connections, no repeats, no cookies.

    The environment (proxies, .netrc) is ignored: a proxy would connect in our place, unchecked.
    `ca_bundle` is a file of certificates to trust instead of the usual ones.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.verify = ca_bundle or True
    adapter = GuardedAdapter(guard, pool_size=pool_size)
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _WithoutQuery(logging.Filter):
    """Tokens travel in the query of the authorization server's URLs; logs show the path only."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args
            )
        return True


class _WarningsOnly(logging.Filter):
    """requests_oauthlib writes whole token answers at DEBUG."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


# At import, so that no way of opening a session can forget it.
logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQuery())
logging.getLogger("requests_oauthlib.oauth2_session").addFilter(_WarningsOnly())
