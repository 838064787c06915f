"""Who may read: HTTP Basic authentication, and a pause for whoever keeps guessing."""

import base64
import binascii
import hmac
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

USER = "reader"
FREE_TRIES = 5
MAX_PAUSE_S = 60.0
MAX_CLIENTS = 4096
"""How many clients with failed tries are remembered: the memory of an attack stays bounded."""


class LoginThrottle:
    """Checks credentials in constant time, and makes clients wait who fail again and again.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(self, password: str, clock: Callable[[], float]) -> None:
        # An environment may hold bytes that are no UTF-8; they count as they are.
        self._expected = _digest(f"{USER}:{password}".encode("utf-8", "surrogateescape"))
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def pause_s(self, client: str) -> float:
        """Return for how long this client's credentials will not be looked at; 0 where they will."""
        tries, until = self._failures.get(client, (0, 0.0))
        return max(0.0, until - self._clock()) if tries >= FREE_TRIES else 0.0

    def admits(self, client: str, authorization: str) -> bool:
        """Tell whether an ``Authorization`` header holds the credentials, and remember if it does not."""
        scheme, _, token = authorization.partition(" ")
        try:
            given = base64.b64decode(token.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        # Digests are equally long, so the comparison tells nothing about the password's length either.
        if hmac.compare_digest(_digest(given), self._expected):
            self._failures.pop(client, None)
            return True
        tries = self._failures.pop(client, (0, 0.0))[0] + 1
        pause_s = min(2.0 ** min(tries - FREE_TRIES, 16), MAX_PAUSE_S)
        self._failures[client] = (tries, self._clock() + pause_s)
        if len(self._failures) > MAX_CLIENTS:
            self._failures.popitem(last=False)
        return False


def client_address(named: str, peer: str) -> str:
    """Return who a client counts as: its address, or in IPv6 its network, which is one customer's.

    ``named`` is what a proxy in front says, ``peer`` the other end of the connection, which counts where
    that is no address.
    """
    for text in (named, peer):
        try:
            address = ip_address(text.strip())
        except ValueError:
            continue
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            return str(mapped) if mapped else str(ip_network((address, 64), strict=False))
        return str(address)
    return peer


def _digest(credentials: bytes) -> bytes:
    return sha256(credentials).digest()
