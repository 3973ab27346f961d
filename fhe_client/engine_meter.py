"""What the engine tells while a reply is made: status, meter, layers and the server's view, at a bearable rate."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fhe_client.chat_events import Status
from fhe_client.engine_protocol import EventWriter
from fhe_client.pace import Pace
from fhe_protocol.wire import HEADER

if TYPE_CHECKING:
    from fhe_client.crypto.session import RoundReport
    from fhe_client.open_chat import OpenChat

METER_SECONDS = 0.1
LAYER_SECONDS = 0.02
VIEW_SECONDS = 2.0
"""Of one group: the first pass shows them all, later ones what is new."""
HEAD_BYTES = 3072


class RoundWatcher:
    """Follows the rounds of an open chat. `on_round` is on the hot path: mostly it only looks at the clock."""

    def __init__(self, writer: EventWriter, clock: Callable[[], float] = time.monotonic) -> None:
        self.watching = False
        self._writer = writer
        self._clock = clock
        self._chat: OpenChat | None = None
        self._earlier: Mapping[str, tuple[int, int]] = {}
        self._earlier_rounds = 0
        self._pace = Pace(clock)
        self._most = 0
        self._next: dict[str, float] = {}

    def attach(self, chat: OpenChat) -> None:
        """Follow this chat from now on; tells what connecting has moved."""
        self._chat = chat
        self._pace = chat.pace
        self._meter()

    def detach(self) -> None:
        """The chat is about to be closed; what it moved still counts."""
        self._earlier, self._earlier_rounds = self._totals()
        self._chat = None

    def begin(self, most: int) -> None:
        """A reply of at most `most` tokens begins."""
        self._most = most
        self._next.clear()

    def end(self) -> None:
        """The reply has ended: the last figures."""
        self._meter()

    def on_prompt(self, done: int, total: int) -> None:
        """So much of the prompt is read."""
        self._writer.status(Status("prompt", done, total, "tokens"))

    def on_round(self, report: RoundReport) -> None:
        """A round is through."""
        if self._chat is None:
            return
        if report.group.index == 0 and self._pace.tokens > 0:
            self._writer.status(Status("token", self._pace.tokens, self._most, "tokens"))
        if self._due("meter", METER_SECONDS):
            self._meter()
        if self.watching:
            self._show(report, len(self._chat.manifest.groups))

    def _show(self, report: RoundReport, total: int) -> None:
        if self._due("layer", LAYER_SECONDS):
            self._writer.event("layer", index=report.group.index, total=total)
        index = report.group.index
        if self._due(f"server_view {index}", VIEW_SECONDS):
            head = report.frame[HEADER.size : HEADER.size + HEAD_BYTES]
            self._writer.event(
                "server_view",
                index=index,
                total=total,
                group=report.group.name,
                rows=report.rows,
                n=report.group.inputs,
                head=base64.b64encode(head).decode("ascii"),
            )

    def _due(self, what: str, seconds: float) -> bool:
        now = self._clock()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + seconds
        return True

    def _totals(self) -> tuple[dict[str, tuple[int, int]], int]:
        """Bytes up and down by kind, and rounds, since the engine started."""
        kinds = dict(self._earlier)
        if self._chat is None:
            return kinds, self._earlier_rounds
        traffic = self._chat.traffic()
        for kind, (up, down) in traffic.by_kind.items():
            before = kinds.get(kind, (0, 0))
            kinds[kind] = (before[0] + up, before[1] + down)
        return kinds, self._earlier_rounds + traffic.rounds

    def _meter(self) -> None:
        if self._chat is None:
            return
        kinds, rounds = self._totals()
        hints = sum(kinds.get("hints", (0, 0)))
        moved = [both for kind, both in kinds.items() if kind != "hints"]  # hints are counted apart
        self._writer.event(
            "meter",
            bytes_up=sum(up for up, _ in moved),
            bytes_down=sum(down for _, down in moved),
            hint_bytes=hints,
            kinds={kind: list(both) for kind, both in kinds.items()},
            seconds_per_token=self._pace.seconds_per_token,
            tokens_left_in_epoch=self._chat.tokens_left_in_epoch,
            rounds=rounds,
        )
