"""What happened to requests, as lines of the log: one for each answer of an endpoint and each call to a model."""

from __future__ import annotations

import logging

import msgspec

from headrace.core.events import Answered, Event, ModelCalled

log = logging.getLogger("headrace.events")


class EventLog:
    """A recorder that logs at debug level: the kind of event, and all of it as JSON."""

    @staticmethod
    def wanted() -> bool:
        """Whether anybody would see its lines: where not, requests do without it."""
        return log.isEnabledFor(logging.DEBUG)

    def record(self, event: Event) -> None:
        """Log an event of a request."""
        if isinstance(event, Answered | ModelCalled):
            log.debug("%s %s", type(event).__name__, msgspec.json.encode(event).decode())
