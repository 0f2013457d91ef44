"""Who may use `/v1`: virtual keys, the server's own keys, or anybody on a loopback server that has neither."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from msgspec import Struct

from headrace.core.clock import Clock
from headrace.http1.request import Request
from headrace.server.gateway.access import Access
from headrace.server.gateway.complaint import Complaint
from headrace.server.gateway.keyring import Keyring
from headrace.server.gateway.keys import Snapshot, VirtualKey


class Sender(Struct):
    """Who sends the requests with one head: kept with it, and true as long as the keys are those of `snapshot`.

    Attributes
    ----------
    key
        The virtual key; None: it has no limits.
    ends
        Whether there is an instant at which the key is of no use any more.
    accesses
        How it may call each model that it has called.
    """

    snapshot: Snapshot
    key: VirtualKey | None
    ends: bool
    accesses: dict[str, Access] = {}


class Entrance:
    """Tells who sends a request.

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

    def admit(self, request: Request) -> Sender:
        """Who sends a request.

        Raises
        ------
        Complaint
            401: no key, an unknown one, or one that has ended.
        """
        snapshot = self._keyring.snapshot
        sender: Sender | None = request.facts.get(Sender)
        if sender is None or sender.snapshot is not snapshot:
            sender = request.facts[Sender] = self._find(request, snapshot)
        key = sender.key
        if sender.ends and key is not None:
            ended = key.ended(self._clock.now())
            if ended:
                raise _unknown(f"the key {key.name!r} is {ended}")
        return sender

    def _find(self, request: Request, snapshot: Snapshot) -> Sender:
        """The same without a look at the clock: as long as the keys stay, it follows from the head."""
        if not self._digests and not snapshot.present:
            return Sender(snapshot, None, False)
        given = given_key(request)
        if given is None:
            raise _unknown("no key was sent: send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'")
        if self._digests:
            digest = hashlib.sha256(given).digest()
            # Every key is compared, so that the time taken does not tell which one was near.
            if sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0:
                return Sender(snapshot, None, False)
        found = snapshot.find(given)
        if found is None:
            raise _unknown("the key is not known here")
        return Sender(snapshot, found, found.expires is not None or found.revoked is not None)


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


def _unknown(message: str) -> Complaint:
    return Complaint(401, message, code="invalid_api_key", retry=False)
