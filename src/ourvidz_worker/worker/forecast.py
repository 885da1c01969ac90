"""How far an attempt is and how long it still takes, from its own measured steps."""

from math import isfinite


class Forecast:
    """Counts the shares of the stages done; the rest takes as long as the pace so far says.

    Times are seconds of one clock. Encoding is no stage and not counted.
    """

    def __init__(self, started: float) -> None:
        """Nothing is done at `started`."""
        self._started = self._entered = started
        self._done = self._share = 0.0
        self._furthest = 0.0

    def enter(self, share: float, now: float) -> None:
        """The stage before is done; one that is `share` of the whole (0..1) begins."""
        self._done = min(1.0, self._done + self._share)
        self._share, self._entered = share, now

    def fraction(self, step: int, steps: int) -> float:
        """How much of the whole is done, 0..1, with `step` of the stage's `steps`; never falls."""
        now = self._done + self._share * min(1.0, step / max(1, steps))
        self._furthest = min(1.0, max(self._furthest, now))
        return self._furthest

    def eta_s(self, step: int, steps: int, now: float) -> float | None:
        """Seconds until the last stage ends; None before anything was measured.

        This stage goes on at its own mean pace; the stages after it take their share of a whole
        that is judged by everything up to this stage's end.
        """
        if step <= 0:
            return None
        spent_s = now - self._entered
        left_s = spent_s / step * max(0, steps - step)
        ends = self._done + self._share
        after = max(0.0, 1.0 - ends)
        if ends > 0:
            left_s += (self._entered - self._started + spent_s + left_s) / ends * after
        return left_s if isfinite(left_s) else None
