"""What one run of `python -m benchmarks` measures: which model, how often, how long."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.conversation import KINDS

if TYPE_CHECKING:
    from fhe_client.open_chat import OpenChat

QUESTION = "Write a long story about a lighthouse keeper and the sea."
_READY_S = 60.0


@dataclass(frozen=True)
class Setting:
    """One run.

    Attributes:
        model: name of an imported model of this TACITA_HOME.
        checkpoint: the same model for the clear twins; None takes the catalogue's.
        alternations: how often encrypted and clear take turns.
        tokens: of a reply.
        prefills: lengths of prompts.
        starts: warm starts of the engine.
        places: (round trip in ms, Mbit/s or None).
        far_tokens: of a reply without guesses at a distance; with guesses eight times as many.
        kinds: of clear twins.
        imports: whether an import is timed, too.
    """

    model: str
    checkpoint: Path | None = None
    alternations: int = 3
    tokens: int = 40
    prefills: tuple[int, ...] = (16, 64, 256)
    starts: int = 3
    places: tuple[tuple[float, float | None], ...] = (
        (0.0, None),
        (5.0, None),
        (20.0, None),
        (50.0, None),
        (20.0, 50.0),
        (20.0, 10.0),
    )
    far_tokens: int = 4
    kinds: tuple[str, ...] = KINDS
    imports: bool = True

    @classmethod
    def quick(cls, model: str, checkpoint: Path | None) -> Setting:
        """Everything once and short: shows that all of it works, measures nothing."""
        places = ((1.0, 50.0),)
        return cls(model, checkpoint, 1, 4, (4, 16), 1, places, 2, KINDS[:1], imports=False)


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class Encrypted:
    """An open chat, and the model inside it for prompts of an exact length."""

    def __init__(self, chat: OpenChat) -> None:
        self.chat = chat
        self._inner: Any = chat._parts.chat
        self._session: Any = chat._parts.session

    @property
    def manifest(self) -> Any:
        """What is served."""
        return self.chat.manifest

    def wait_ready(self) -> None:
        """Until the next window is there, as it is after a pause of the user."""
        deadline = time.monotonic() + _READY_S
        while not self._session.next_window_ready and time.monotonic() < deadline:
            time.sleep(0.05)

    def write(self, tokens: int) -> dict[str, Any]:
        """A reply to a short prompt: seconds a token, when each token came, bytes between the first and the last."""
        marks: list[tuple[int, int, int]] = []

        def note(_count: int) -> None:
            traffic = self.chat.traffic()
            marks.append((time.perf_counter_ns(), *traffic.of("rounds")))

        reply = self._generate(self.ids(12), tokens, note)
        steps = max(1, len(marks) - 1)
        return {
            "token_s": reply.seconds_per_token,
            "times": [m[0] for m in marks],
            "up": (marks[-1][1] - marks[0][1]) / steps,
            "down": (marks[-1][2] - marks[0][2]) / steps,
        }

    def read(self, length: int) -> float:
        """Seconds until the first token after a prompt of exactly `length` tokens, none of it in the cache."""
        seconds: float = self._generate(self.ids(length), 1).seconds_first
        return seconds

    def ids(self, length: int) -> list[int]:
        """Tokens of a prompt: any will do, the time does not depend on them."""
        return [3 + k % (self.manifest.vocabulary - 3) for k in range(7, 7 + length)]

    def _generate(self, ids: list[int], tokens: int, note: Any = lambda count: None) -> Any:
        from fhe_client.model.files import GenerationDefaults
        from fhe_client.text.generation import GenerationOptions, generate

        self.chat.forget()
        options = GenerationOptions(max_tokens=tokens, temperature=0.0)
        hybrid, files = self._inner._hybrid, self._inner._files
        endless = GenerationDefaults()  # without stop tokens
        return generate(hybrid, files.tokenizer, ids, options, defaults=endless, on_tokens=note)


@contextmanager
def opened(model: str, url: str | None = None, home: Any = None) -> Iterator[Encrypted]:
    """A chat under a fresh key, at the embedded server or at `url`."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat
    from fhe_client.keys import MasterKey

    options = ConnectOptions(url=url, model=model)
    with (
        MasterKey.generate(origin="session") as key,
        open_chat(options, key, Callbacks(), home=home) as chat,
    ):
        yield Encrypted(chat)
