"""Queries of all clients to the same group, multiplied together.

The operation is stateless, so rows of different clients only share the reading of the weights. Nothing ever waits for
a window of time: an idle server multiplies at once. While a product is under way the other queries queue, and then all
that wait for one group are taken together, up to a number of rows.

Which group comes next decides how much is shared. Clients walk through the groups of a model in the same order, so the
group that comes *first* in that order is served first: who is ahead waits for who is behind, and from then on they
walk together, one product for all. Nobody waits longer than `max_wait_s` for that. It must be far more than serving
every client once on its own takes, or the crowd falls apart and stays so.

Products of up to `INLINE_S` run on the event loop, where two thread switches would cost more; longer ones run in a
worker thread, and short ones pass them meanwhile. *Heavy* ones are the exception: few rows of a large matrix, which for
most models are the first and the last round of a token. They go first, and nothing passes them, because sharing the
processor makes them last twice as long: 1.6 % of the rounds, they are what the slowest hundredth consists of.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fhe_server.errors import ServerError

INLINE_S = 0.002
"""Seconds that a product may take on the event loop."""

HEAVY_S = 0.03
"""Seconds that short products may be held up for a heavy one."""
HEAVY_ROWS = 8
"""Rows of a query that may still be a reply being written. The products of a prompt are all long: they are passed."""

_FIRST_GUESS_BYTES_PER_S = 15e9
_FIRST_GUESS_PRODUCTS_PER_S = 150e9
_LEARN = 0.2

Planes = Sequence[NDArray[np.int8]]
"""For each part of a group, (3, rows, n_part)."""

Sums = list[NDArray[np.uint16]]
"""For each part of a group, (rows, m)."""


Taken = tuple[float, float]
"""Seconds of wall time and of processor time."""


class QueueFullError(ServerError):
    """More work waits than the operator allows; the client should come back in a moment."""


class Multiplier(Protocol):
    """What can multiply: a loaded model."""

    def multiply(self, group: int, planes: Planes) -> Sums:
        """Rounded products of one group."""
        ...

    def products(self, group: int) -> int:
        """Multiplications of one row."""
        ...


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much is taken together, and how much may wait.

    Attributes:
        max_rows: rows of one product, unless a single query has more.
        max_wait_s: how long a query may be passed over by those behind it.
        max_waiting: queries in the queue.
        max_waiting_bytes: their bytes.
        threads: long products at a time.
    """

    max_rows: int = 256
    max_wait_s: float = 0.25
    max_waiting: int = 1024
    max_waiting_bytes: int = 512 << 20
    threads: int = 1


@dataclass(slots=True)
class BatchStats:
    """Counts since start. Seconds are wall time; `kernel_cpu_s` is processor time of the same products."""

    batches: int = 0
    queries: int = 0
    rows: int = 0
    kernel_s: float = 0.0
    kernel_cpu_s: float = 0.0
    waited_s: float = 0.0
    inline: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Query:
    planes: Planes
    rows: int
    size: int
    since: float
    done: asyncio.Future[Sums]


@dataclass(slots=True)
class _Line:
    """The queries that wait for one group of one model."""

    model: Multiplier
    group: int
    queries: deque[_Query] = field(default_factory=deque)

    def rows(self, limit: int) -> int:
        """Rows of the next batch."""
        total = 0
        for query in self.queries:
            if total and total + query.rows > limit:
                break
            total += query.rows
        return total


class KernelClock:
    """How long a product will take: learnt for every group and size, guessed before the first one."""

    def __init__(self) -> None:
        # Goes with the model: another may get its place in memory, and `id` with it.
        self._seen: WeakKeyDictionary[Multiplier, dict[tuple[int, int], float]]
        self._seen = WeakKeyDictionary()

    def estimate(self, model: Multiplier, group: int, rows: int) -> float:
        """Seconds."""
        seen = self._seen.get(model)
        found = None if seen is None else seen.get((group, rows.bit_length()))
        if found is not None:
            return found
        products = model.products(group)
        reading = products / 3 / _FIRST_GUESS_BYTES_PER_S
        return max(reading, products * rows / _FIRST_GUESS_PRODUCTS_PER_S)

    def learn(self, model: Multiplier, group: int, rows: int, seconds: float) -> None:
        """Note what it took."""
        seen = self._seen.setdefault(model, {})
        key = (group, rows.bit_length())
        before = seen.get(key, seconds)
        seen[key] = before + _LEARN * (seconds - before)


class Batcher:
    """The queue before the kernels of one process. Lives on one event loop.

    Attributes:
        clients: open connections that may send queries; the service keeps it up to date. With one there is nobody to
            wait for.
    """

    def __init__(self, limits: BatchLimits | None = None) -> None:
        self.limits = limits or BatchLimits()
        self.stats = BatchStats()
        self.clients = 0
        self._lines: dict[tuple[int, int], _Line] = {}
        self._waiting = 0
        self._waiting_bytes = 0
        self._running = 0
        self._heavy_running = False
        self._pump_is_due = False
        self._clock = KernelClock()
        self._executor: ThreadPoolExecutor | None = None

    @property
    def waiting(self) -> int:
        """Queries in the queue."""
        return self._waiting

    def close(self) -> None:
        """End the worker threads, after what they are at. A later query starts new ones."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    async def multiply(self, model: Multiplier, group: int, planes: Planes) -> Sums:
        """The rounded products of one query, alone or together with others.

        Raises:
            QueueFullError: too much waits already.
        """
        rows = planes[0].shape[1]
        alone = self.clients <= 1 and not self._waiting and not self._running
        if alone and self._clock.estimate(model, group, rows) <= INLINE_S:
            return self._multiply_now(model, group, planes, rows)
        size = sum(p.nbytes for p in planes)
        self._check_room(size)
        loop = asyncio.get_running_loop()
        query = _Query(planes, rows, size, time.monotonic(), loop.create_future())
        line = self._lines.setdefault((id(model), group), _Line(model, group))
        line.queries.append(query)
        self._waiting += 1
        self._waiting_bytes += size
        self._pump_soon(loop)
        return await query.done

    def _multiply_now(self, model: Multiplier, group: int, planes: Planes, rows: int) -> Sums:
        started = _Stopwatch()
        sums = model.multiply(group, planes)
        self.stats.inline += 1
        self._count(model, group, rows, 1, started.taken())
        return sums

    def _check_room(self, size: int) -> None:
        limits = self.limits
        full = self._waiting >= limits.max_waiting
        if full or self._waiting_bytes + size > max(limits.max_waiting_bytes, size):
            self.stats.refused += 1
            raise QueueFullError("the server has too much to do", "Try again in a moment.")

    def _pump_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: what has arrived in the same turn of the event loop shall come along.
        if not self._pump_is_due:
            self._pump_is_due = True
            loop.call_soon(self._pump, loop)

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what can be started: long batches while threads are free, and one short one."""
        self._pump_is_due = False
        while not self._heavy_running and (line := self._choose()) is not None:
            rows = line.rows(self.limits.max_rows)
            if self._is_short(line, rows):
                self._run_short(line)
                if self._waiting:  # input and output first
                    self._pump_soon(loop)
                return
            self._run_long(line, loop)

    def _choose(self) -> _Line | None:
        """The line to serve next, None if nothing can start now."""
        lines = list(self._lines.values())
        if self._running >= self.limits.threads:
            lines = [x for x in lines if self._is_short(x, x.rows(self.limits.max_rows))]
        if len(lines) < 2:
            return lines[0] if lines else None
        oldest = min(lines, key=lambda x: x.queries[0].since)
        if time.monotonic() - oldest.queries[0].since > self.limits.max_wait_s:
            return oldest
        # The model whose query is the oldest; in it what is heavy, then who is behind.
        same = (x for x in lines if x.model is oldest.model)
        return min(same, key=lambda x: (not self._is_heavy(x), x.group))

    def _is_short(self, line: _Line, rows: int) -> bool:
        return self._clock.estimate(line.model, line.group, rows) <= INLINE_S

    def _is_heavy(self, line: _Line) -> bool:
        if line.queries[0].rows > HEAVY_ROWS:
            return False
        rows = line.rows(self.limits.max_rows)
        return INLINE_S < self._clock.estimate(line.model, line.group, rows) <= HEAVY_S

    def _take(self, line: _Line) -> list[_Query]:
        """Remove the next batch from its line."""
        batch: list[_Query] = []
        rows = line.rows(self.limits.max_rows)
        now = time.monotonic()
        while rows > 0:
            query = line.queries.popleft()
            rows -= query.rows
            self._waiting -= 1
            self._waiting_bytes -= query.size
            self.stats.waited_s += now - query.since
            if not query.done.cancelled():  # whoever asked has left
                batch.append(query)
        if not line.queries:
            del self._lines[(id(line.model), line.group)]
        return batch

    def _run_short(self, line: _Line) -> None:
        batch = self._take(line)
        try:
            answers, taken = _multiply_all(line.model, line.group, batch)
        except Exception as error:
            _fail(batch, error)
            return
        self.stats.inline += 1
        self._finish(line, batch, answers, taken)

    def _run_long(self, line: _Line, loop: asyncio.AbstractEventLoop) -> None:
        heavy = self._is_heavy(line)
        batch = self._take(line)
        self._running += 1
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.limits.threads, "kernel")
        try:
            work = loop.run_in_executor(
                self._executor, _multiply_all, line.model, line.group, batch
            )
        except RuntimeError as error:  # the system has no thread for us
            self._running -= 1
            _fail(batch, error)
            return
        self._heavy_running = self._heavy_running or heavy
        work.add_done_callback(lambda done: self._end_long(line, batch, done, loop, heavy))

    def _end_long(
        self,
        line: _Line,
        batch: list[_Query],
        work: asyncio.Future[tuple[list[Sums], Taken]],
        loop: asyncio.AbstractEventLoop,
        heavy: bool,
    ) -> None:
        self._running -= 1
        if heavy:
            self._heavy_running = False
        if work.cancelled():
            _fail(batch, QueueFullError("the server is stopping"))
        elif (error := work.exception()) is not None:
            _fail(batch, error)
        else:
            self._finish(line, batch, *work.result())
        if self._waiting:
            self._pump_soon(loop)

    def _finish(self, line: _Line, batch: list[_Query], answers: list[Sums], taken: Taken) -> None:
        rows = sum(q.rows for q in batch)
        self._count(line.model, line.group, rows, len(batch), taken)
        for query, sums in zip(batch, answers, strict=True):
            if not query.done.done():
                query.done.set_result(sums)

    def _count(self, model: Multiplier, group: int, rows: int, queries: int, taken: Taken) -> None:
        wall, processor = taken
        self._clock.learn(model, group, rows, wall)
        self.stats.batches += 1
        self.stats.queries += queries
        self.stats.rows += rows
        self.stats.kernel_s += wall
        self.stats.kernel_cpu_s += processor


class _Stopwatch:
    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.thread_time()

    def taken(self) -> Taken:
        return time.perf_counter() - self._wall, time.thread_time() - self._processor


def _multiply_all(model: Multiplier, group: int, batch: list[_Query]) -> tuple[list[Sums], Taken]:
    """One product for all queries, and the seconds it took; the answers in their order."""
    started = _Stopwatch()
    if not batch:
        return [], started.taken()
    if len(batch) == 1:
        return [model.multiply(group, batch[0].planes)], started.taken()
    all_planes = zip(*(q.planes for q in batch), strict=True)
    sums = model.multiply(group, [np.concatenate(planes, axis=1) for planes in all_planes])
    ends = np.cumsum([0, *(q.rows for q in batch)]).tolist()
    answers = [[part[start:stop] for part in sums] for start, stop in pairwise(ends)]
    return answers, started.taken()


def _fail(batch: list[_Query], error: BaseException) -> None:
    for query in batch:
        if not query.done.done():
            query.done.set_exception(error)
