"""Batching: who is multiplied with whom, in which order, and that nobody's answer changes for it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from fhe_protocol.planes import from_planes
from fhe_server.kernel import LinearKernel, reference_answer
from fhe_server.service import batching
from fhe_server.service.batching import Batcher, BatchLimits, KernelClock, QueueFullError

PATIENCE_S = 60


class Matrices:
    """Real kernels, one part a group, and the batches they were given."""

    def __init__(self, groups: int = 3, products: int = 1) -> None:
        rng = np.random.default_rng(3)
        self.weights = [rng.integers(-127, 128, (20, 16), dtype=np.int8) for _ in range(groups)]
        self.kernels = [LinearKernel(w, engine="float32") for w in self.weights]
        self.batches: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self._products = products

    def products(self, group: int) -> int:
        return self._products

    def multiply(self, group: int, planes: Sequence[NDArray[np.int8]]) -> list[NDArray[np.uint16]]:
        assert self.gate.wait(PATIENCE_S)
        self.batches.append((group, planes[0].shape[1]))
        if self.broken:
            raise RuntimeError("out of memory")
        return [self.kernels[group].answer(p) for p in planes]


def query(seed: int, rows: int = 1) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, (3, rows, 16), dtype=np.int8)


async def ask(batcher: Batcher, model: Matrices, group: int, seed: int, rows: int = 1) -> None:
    """One query whose answer must be its own clear product."""
    planes = query(seed, rows)
    (found,) = await batcher.multiply(model, group, [planes])
    assert np.array_equal(found, reference_answer(model.weights[group], from_planes(planes)))


def run(batcher: Batcher, *work: object) -> None:
    async def main() -> None:
        try:
            await asyncio.wait_for(asyncio.gather(*work), PATIENCE_S)  # type: ignore[call-overload]
        finally:
            batcher.close()

    asyncio.run(main())


def test_queries_of_one_turn_share_a_product() -> None:
    model, batcher = Matrices(), Batcher()
    batcher.clients = 5
    run(batcher, *(ask(batcher, model, 1, seed, rows=1 + seed % 3) for seed in range(5)))
    assert model.batches == [(1, 1 + 2 + 3 + 1 + 2)]
    assert (batcher.stats.batches, batcher.stats.queries, batcher.stats.rows) == (1, 5, 9)


def test_a_lone_client_is_answered_without_a_turn_of_the_loop() -> None:
    model, batcher = Matrices(), Batcher()
    batcher.clients = 1
    coroutine = batcher.multiply(model, 0, [query(1)])
    with pytest.raises(StopIteration):  # it never had to wait for anything
        coroutine.send(None)
    assert model.batches == [(0, 1)]
    batcher.close()


def test_a_product_has_at_most_so_many_rows() -> None:
    model, batcher = Matrices(), Batcher(BatchLimits(max_rows=4))
    batcher.clients = 9
    rows = [2, 2, 1, 7, 1]
    run(batcher, *(ask(batcher, model, 0, seed, r) for seed, r in enumerate(rows)))
    assert model.batches == [(0, 4), (0, 1), (0, 7), (0, 1)]


def test_who_is_behind_goes_first_and_is_then_joined() -> None:
    """The one ahead waits at group 1 until the others, from group 0, have come to it."""
    model, batcher = Matrices(), Batcher(BatchLimits(max_wait_s=1e6))
    batcher.clients = 4

    async def from_the_start(seed: int) -> None:
        await ask(batcher, model, 0, seed)
        await ask(batcher, model, 1, seed)

    run(batcher, ask(batcher, model, 1, 9), *(from_the_start(seed) for seed in range(3)))
    assert model.batches == [(0, 3), (1, 4)]


def test_nobody_is_passed_over_for_ever() -> None:
    model, batcher = Matrices(), Batcher(BatchLimits(max_wait_s=-1.0))
    batcher.clients = 3
    run(batcher, ask(batcher, model, 2, 1), ask(batcher, model, 0, 2), ask(batcher, model, 1, 3))
    assert [group for group, _ in model.batches] == [2, 0, 1]


def test_the_longest_waiting_model_goes_first() -> None:
    first, second, batcher = Matrices(), Matrices(), Batcher(BatchLimits(max_wait_s=1e6))
    batcher.clients = 3
    order: list[str] = []

    async def note(name: str, model: Matrices, group: int) -> None:
        await ask(batcher, model, group, 1)
        order.append(name)

    run(batcher, note("a", first, 2), note("b", second, 0))
    assert order == ["a", "b"]


def test_a_long_product_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is under way in a thread, short ones of another model pass it."""
    long, short = Matrices(products=10**15), Matrices()
    batcher = Batcher()
    batcher.clients = 3
    long.gate.clear()

    async def passing() -> None:
        while not batcher._running:
            await asyncio.sleep(0.001)
        await ask(batcher, short, 0, 2)
        assert long.batches == []
        long.gate.set()

    run(batcher, ask(batcher, long, 0, 1), passing())
    assert (long.batches, short.batches) == ([(0, 1)], [(0, 1)])


def test_what_comes_during_a_long_product_is_taken_together() -> None:
    model, batcher = Matrices(products=10**15), Batcher()
    batcher.clients = 9
    model.gate.clear()

    async def later() -> None:
        while not batcher._running:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(ask(batcher, model, 0, seed)) for seed in range(4)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        model.gate.set()
        await asyncio.gather(*rest)

    run(batcher, ask(batcher, model, 0, 9), later())
    assert model.batches == [(0, 1), (0, 4)]


def heavy(batcher: Batcher, model: Matrices, group: int) -> None:
    """From now on its products are thought to take longer than what runs on the event loop, but not long."""
    for rows in (1, 2, 4, 8):  # the clock tells sizes apart by their binary digits
        batcher._clock.learn(model, group, rows, 2 * batching.INLINE_S)


def test_heavy_products_go_first_though_others_are_behind() -> None:
    model, batcher = Matrices(groups=4), Batcher(BatchLimits(max_wait_s=1e6))
    batcher.clients = 4
    for group in (2, 3):
        heavy(batcher, model, group)
    run(batcher, *(ask(batcher, model, group, group) for group in (1, 3, 0, 2)))
    assert [group for group, _ in model.batches] == [2, 3, 0, 1]


@pytest.mark.parametrize("rows", [1, batching.HEAVY_ROWS + 1])
def test_nothing_passes_a_heavy_product_but_a_prompt_is_passed(rows: int) -> None:
    heavy_model, short, batcher = Matrices(), Matrices(), Batcher(BatchLimits(max_wait_s=1e6))
    batcher.clients = 3
    heavy(batcher, heavy_model, 0)
    heavy_model.gate.clear()
    is_heavy = rows == 1

    async def passing() -> None:
        while not batcher._running:
            await asyncio.sleep(0.001)
        later = asyncio.create_task(ask(batcher, short, 0, 2))
        for _ in range(5):  # turns of the loop: it would have started by then
            await asyncio.sleep(0.001)
        assert batcher.waiting == (1 if is_heavy else 0)
        assert short.batches == ([] if is_heavy else [(0, 1)])
        heavy_model.gate.set()
        await later

    run(batcher, ask(batcher, heavy_model, 0, 1, rows), passing())
    assert (heavy_model.batches, short.batches) == ([(0, rows)], [(0, 1)])


def test_a_heavy_product_that_cannot_start_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batcher = Matrices(), Batcher()
    batcher.clients = 3
    heavy(batcher, model, 0)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadPoolExecutor, "submit", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await asyncio.wait_for(ask(batcher, model, 0, 1), PATIENCE_S)
        await ask(batcher, model, 1, 1)

    run(batcher, main())


@pytest.mark.parametrize(
    "limits", [BatchLimits(max_waiting=2), BatchLimits(max_waiting_bytes=2 * 48 + 1)]
)
def test_a_full_queue_refuses_and_recovers(limits: BatchLimits) -> None:
    model, batcher = Matrices(), Batcher(limits)
    batcher.clients = 4

    async def crowd() -> list[BaseException | None]:
        return await asyncio.gather(
            *(ask(batcher, model, 0, seed) for seed in range(4)), return_exceptions=True
        )

    async def main() -> None:
        results = await crowd()
        assert [type(r) for r in results] == [type(None), type(None), *[QueueFullError] * 2]
        await ask(batcher, model, 0, 7)

    run(batcher, main())
    assert batcher.stats.refused == 2
    assert batcher.waiting == 0


@pytest.mark.parametrize("products", [1, 10**15])
def test_a_failing_kernel_fails_its_batch_and_no_other(products: int) -> None:
    model, batcher = Matrices(products=products), Batcher()
    batcher.clients = 4
    model.broken = True

    async def main() -> None:
        for result in await asyncio.gather(
            *(ask(batcher, model, 0, seed) for seed in range(3)), return_exceptions=True
        ):
            assert isinstance(result, RuntimeError)
        model.broken = False
        await ask(batcher, model, 0, 1)

    run(batcher, main())


def test_without_a_thread_a_batch_fails_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batcher = Matrices(products=10**15), Batcher()
    batcher.clients = 4

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(ThreadPoolExecutor, "submit", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await asyncio.wait_for(ask(batcher, model, 0, 1), PATIENCE_S)
        await asyncio.wait_for(ask(batcher, model, 0, 1), PATIENCE_S)

    run(batcher, main())
    assert (batcher.waiting, batcher._running) == (0, 0)


def test_a_client_that_left_is_not_multiplied() -> None:
    model, batcher = Matrices(), Batcher()
    batcher.clients = 3

    async def main() -> None:
        gone = asyncio.create_task(ask(batcher, model, 0, 1))
        kept = asyncio.create_task(ask(batcher, model, 0, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await kept
        assert gone.cancelled()

    # Two turns: the queries are queued in the first, the product is made in the second.
    run(batcher, main())
    assert sum(rows for _, rows in model.batches) <= 2
    assert batcher.waiting == 0


def test_the_clock_guesses_then_learns() -> None:
    model, clock = Matrices(products=10**12), KernelClock()
    assert clock.estimate(model, 0, 1) > batching.INLINE_S
    for _ in range(30):
        clock.learn(model, 0, 1, 1e-4)
    assert clock.estimate(model, 0, 1) == pytest.approx(1e-4)
    assert clock.estimate(model, 0, 64) > batching.INLINE_S  # another size is another time


def test_what_a_model_took_goes_with_it() -> None:
    """The next model may lie where it lay, and be a thousand times as large."""
    model, clock = Matrices(products=1), KernelClock()
    clock.learn(model, 0, 1, 60.0)
    assert clock.estimate(model, 0, 1) == 60.0
    assert clock.estimate(Matrices(products=1), 0, 1) < 60.0
    del model
    gc.collect()
    assert not clock._seen
