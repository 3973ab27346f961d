"""Counts that the hot path adds to: plain numbers. exposition.py puts them into Prometheus's format when someone asks.

No content, no addresses, no token: only how many, how long, how large.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Histogram:
    """Durations by upper bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total += seconds


class Metrics:
    """What a service counts beside rounds and bytes."""

    def __init__(self) -> None:
        self.round_s = Histogram()
        self.refused: Counter[str] = Counter()
        self.tokens: defaultdict[str, float] = defaultdict(float)
