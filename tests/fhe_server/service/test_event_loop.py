"""The server's event loop waits awake only after it was told to, and sees all that asyncio's own sees."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from fhe_server.service.event_loop import PatientLoop, PatientSelector, make_loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there asyncio's own loop is used")


def test_input_is_seen_awake_and_asleep() -> None:
    reading, writing = os.pipe()
    selector = PatientSelector()
    try:
        selector.register(reading, 1, "pipe")
        for told in (False, True):
            if told:
                selector.expect_soon()
            assert selector.select(0.01) == []
            os.write(writing, b"x")
            if told:
                selector.expect_soon()
            [(key, _)] = selector.select(60)
            assert key.data == "pipe"
            assert os.read(reading, 8) == b"x"
        assert selector.get_key(reading).data == "pipe"
        assert dict(selector.get_map()).keys() == {reading}
        selector.unregister(reading)
        assert selector.select(0) == []
    finally:
        selector.close()
        os.close(reading)
        os.close(writing)


def test_timers_and_other_threads_are_heard_while_it_waits_awake() -> None:
    async def work() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PatientLoop)
        heard = []
        for _ in range(20):
            loop.expect_soon()
            heard.append(await asyncio.to_thread(lambda: "thread"))
            loop.expect_soon()
            await asyncio.sleep(0.001)
        return heard

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(work()) == ["thread"] * 20
