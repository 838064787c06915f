"""HTTP Basic authentication, and growing pauses for clients that send wrong passwords.

A client that ignores the 429 of a pause can go on sending passwords at full speed: see SECURITY.md.
"""

import base64
import hmac
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

USER = "reader"
FREE_TRIES = 5
"""Number of failed logins of a client before it has to pause."""

MAX_PAUSE_S = 60.0
"""Maximum seconds of a pause. They double with each failed login."""

FORGET_AFTER_S = 3600.0
"""Seconds after a client's last failed login after which its failures no longer count."""

MAX_CLIENTS = 4096
"""Maximum number of clients whose failed logins are remembered, which bounds the memory of an attack."""


class LoginThrottle:
    """Checks credentials in constant time, and counts the failed logins of each client.

    A client may be many people behind one address. So its pause never refuses the right password, and the
    right password of one does not end the pause of another. ``clock`` is monotonic, in seconds.
    """

    def __init__(self, password: str, clock: Callable[[], float]) -> None:
        # Bytes of the environment that are not UTF-8 arrive as surrogates, and count as those bytes.
        self._expected = sha256(f"{USER}:{password}".encode("utf-8", "surrogateescape")).digest()
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """The number of failed logins of each client and the time of the last, oldest first."""

    def accepts(self, authorization: str) -> bool:
        """Return whether an ``Authorization`` header holds the right user and password."""
        scheme, _, token = authorization.partition(" ")
        try:
            given = base64.b64decode(token.strip(), validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            given = b""
        # Digests have one length, so the time of the comparison does not depend on the password's length.
        return hmac.compare_digest(sha256(given).digest(), self._expected)

    def record_failure(self, client: str) -> float:
        """Count a failed login and return 0, or return the seconds that the client still has to pause.

        A failed login during a pause is not counted, so it does not make the pause longer.
        """
        now = self._clock()
        tries, last = self._failures.get(client, (0, 0.0))
        if now - last > FORGET_AFTER_S:
            tries = 0
        pause_s = min(2.0 ** min(tries - FREE_TRIES, 16), MAX_PAUSE_S) if tries >= FREE_TRIES else 0.0
        if last + pause_s > now:
            return last + pause_s - now
        self._failures[client] = (tries + 1, now)
        self._failures.move_to_end(client)
        if len(self._failures) > MAX_CLIENTS:
            self._failures.popitem(last=False)
        return 0.0


def client_address(forwarded: str, peer: str) -> str:
    """Return the key under which a client is counted: its IPv4 address, or its IPv6 network of 64 bits.

    Args:
        forwarded: what the proxy's header says; empty without a proxy.
        peer: the address at the other end of the connection, used where ``forwarded`` is not an address.

    """
    for text in (forwarded, peer):
        with suppress(ValueError):
            address = ip_address(text.strip())
            if isinstance(address, IPv6Address) and not address.ipv4_mapped:
                return str(ip_network((address, 64), strict=False))
            return str(getattr(address, "ipv4_mapped", None) or address)
    return peer
