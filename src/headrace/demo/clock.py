"""The city's clock: the date runs fast, waiting does not."""

from __future__ import annotations

from headrace.core.clock import ScaledClock, SystemClock


class CityClock:
    """Shows city time, which runs `speed` times as fast as the machine's; waits and stopwatches are the machine's.

    The engine runs on this clock too: instants, windows and ages are those of the city, while its polls, timeouts and
    retries keep their real pace. (With everything scaled, a loop that looks for work every 20 ms would spin.)

    Parameters
    ----------
    start
        The instant that the clock shows first (microseconds).
    speed
        City seconds per real second.
    """

    def __init__(self, start: int, speed: float) -> None:
        self._city: ScaledClock | None = None
        self._real = SystemClock()
        self.start = start
        self.speed = speed

    def go(self) -> None:
        """Start the city's time; until then it stands still, so that a slow start costs no city time."""
        self._city = ScaledClock(self.start, self.speed)

    def now(self) -> int:
        """The instant in the city (microseconds)."""
        return self.start if self._city is None else self._city.now()

    def monotonic(self) -> float:
        """Real seconds from an arbitrary start."""
        return self._real.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        await self._real.sleep(seconds)

    def real_ms(self, micros: int) -> float:
        """How many real milliseconds a stretch of city time took."""
        return micros / self.speed / 1000
