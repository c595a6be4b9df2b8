"""How late event loops are, as the beats of their jobs tell it."""

from __future__ import annotations

import asyncio
import time


class LoopLags:
    """How late each event loop is: a call is sent into it at each beat, and the time until it runs is the lag."""

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, _Ping] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has the loop told of from now on."""
        if loop not in self._loops:
            self._loops[loop] = _Ping()
            self._loops[loop].send(loop)

    def worst_ms(self) -> float | None:
        """The worst lag of the loops that are open, in milliseconds; sends the next calls."""
        lags = []
        for loop, ping in list(self._loops.items()):
            if loop.is_closed():
                del self._loops[loop]
                continue
            lags.append(ping.lag())
            if ping.answered and not ping.send(loop):
                del self._loops[loop]
        return round(max(lags) * 1000, 3) if lags else None


class _Ping:
    """A call into an event loop, and when it was sent and answered."""

    def __init__(self) -> None:
        self._sent = self._came = 0.0
        self.answered = False

    def send(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Sends it. False where the loop was closed meanwhile."""
        self.answered = False
        self._sent = time.monotonic()
        try:
            loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            self.answered = True
            return not loop.is_closed()
        return True

    def _answer(self) -> None:
        self._came = time.monotonic()
        self.answered = True

    def lag(self) -> float:
        """Seconds that it took, or has taken so far."""
        return (self._came if self.answered else time.monotonic()) - self._sent
