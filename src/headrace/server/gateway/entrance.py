"""Who may use `/v1`: virtual keys, the server's own keys, or anybody on a loopback server that has neither."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from headrace.core.clock import Clock
from headrace.http1.request import Request
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import Snapshot, VirtualKey


class Entrance:
    """Tells whose request it is.

    Parameters
    ----------
    keyring
        The virtual keys.
    api_keys
        The server's own keys: they open everything, without limits.
    clock
        Says which keys have ended.
    """

    def __init__(self, keyring: Keyring, api_keys: Sequence[str], clock: Clock) -> None:
        self._keyring = keyring
        self._digests = [hashlib.sha256(key.encode()).digest() for key in api_keys]
        self._clock = clock

    @property
    def open(self) -> bool:
        """Whether any key, or none, will do: there are none. Settings let no such server beyond loopback."""
        return not self._digests and not self._keyring.present

    def admit(self, request: Request) -> VirtualKey | None:
        """The virtual key of a request; None where the request has no limits.

        Raises
        ------
        Complaint
            401: no key, an unknown one, or one that has ended.
        """
        if not self._digests and not self._keyring.present:
            return None
        snapshot = self._keyring.snapshot
        seen, found = request.facts.get(Entrance, _UNSEEN)
        if seen is not snapshot:
            found = self._find(request)
            request.facts[Entrance] = snapshot, found
        if found is not None and (found.expires is not None or found.revoked is not None):
            ended = found.ended(self._clock.now())
            if ended:
                raise _unknown(f"the key {found.name!r} is {ended}")
        return found

    def _find(self, request: Request) -> VirtualKey | None:
        """The same without a look at the clock: as long as the keys stay, it follows from the head."""
        given = given_key(request)
        if given is None:
            raise _unknown("no key was sent: send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'")
        if self._digests:
            digest = hashlib.sha256(given).digest()
            # Every key is compared, so that the time taken does not tell which one was near.
            if sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0:
                return None
        found = self._keyring.find(given)
        if found is None:
            raise _unknown("the key is not known here")
        return found


def given_key(request: Request) -> bytes | None:
    """The key that a request carries, if any."""
    bearer: bytes | None = None
    for name, value in request.headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and bearer is None:
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                bearer = rest.strip()
    return bearer


_UNSEEN: tuple[Snapshot | None, VirtualKey | None] = (None, None)


def _unknown(message: str) -> Complaint:
    return Complaint(401, message, code="invalid_api_key", retry=False)
