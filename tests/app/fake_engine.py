"""A stand-in for ``python -m fhe_client.engine``: the same protocol, no model, only the stdlib.

What it does is chosen by words in the last user message (``crash``, ``forever``, ``fail``,
``story``, ``markdown``, ``long N``) and by environment variables:

    FAKE_ENGINE_CONNECT_GATE  path: ``connect`` waits until this file exists
    FAKE_ENGINE_PIECE_GATE    path: after its first piece, a reply waits until this file exists
    FAKE_ENGINE_KEYS          the first state of the keys: keyring, missing, unavailable, session
    FAKE_ENGINE_CONNECT_ERROR a code: ``connect`` fails with it
    FAKE_ENGINE_LOG           path: every command is appended there, one JSON object a line
    FAKE_ENGINE_NO_GLWE       why the scheme glwe cannot be used, if it cannot
    FAKE_ENGINE_PACE          seconds between pieces (screenshots), 0 by default
"""

from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

SENTENCE = "The server computed this sentence without ever seeing it."
MARKDOWN = """Here is a short answer with **bold** words and a [link](https://example.org/page).

1. First step
2. Second step

| scheme | bytes |
|---|---|
| hint | 3 |
| glwe | 8 |

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"  # a comment
```

> A quotation, and `inline code`.
"""
STORY = """The keeper of the lighthouse counted ships for thirty years and never once asked where
they went. Every evening she wrote a number into a book, closed it, and lit the lamp. One winter a
captain rowed over to thank her. He had passed the light a hundred times, he said, and still did
not know her name. She smiled, for that was how she liked it: the light was for everyone, and what
she thought while she tended it was hers alone. They drank tea until the wind turned. When he had
gone she opened the book, wrote down one more ship, and for the first time added a word beside it."""
OUTCOMES = {
    "missing.test": ("name_not_found", "The name missing.test is not known."),
    "refused.test": ("refused", "Nothing listens on refused.test."),
    "slow.test": ("timeout", "No answer within 5 seconds."),
    "tls.test": ("tls", "The certificate has expired."),
    "web.test": ("not_tacita", "The answer is not a Tacita server's."),
    "old.test": ("wrong_version", "The server speaks protocol 0, this app 1."),
    "private.test": ("unauthorised", "The server asks for a token."),
    "empty.test": ("no_such_model", "The server has no model of this name."),
}
SHOWN = "5d" * 32  # the fingerprint of the certificate that tls.test shows


class Engine:
    """One engine process: commands are read by one thread and done by another."""

    def __init__(self) -> None:
        self.stop_requested = threading.Event()
        self.work: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.writing = threading.Lock()
        self.watching = False
        self.keys = os.environ.get("FAKE_ENGINE_KEYS", "keyring")
        self.up = 0
        self.down = 0
        self.slots = 1024
        self.pace = float(os.environ.get("FAKE_ENGINE_PACE", "0"))

    def send(self, **value: Any) -> None:
        with self.writing:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()

    def result(self, command: dict[str, Any], **value: Any) -> None:
        self.send(event="result", id=command["id"], **value)

    def error(self, command: dict[str, Any], code: str) -> None:
        self.send(
            event="error",
            id=command["id"],
            code=code,
            message="The server closed the connection.",
            next_step="Check that the server still runs, then send the message again.",
            details="TransportError: connection reset\nround 12 of 121",
        )

    def status(self, state: str, done: int = 0, total: int = 0, unit: str = "items") -> None:
        self.send(event="status", state=state, done=done, total=total, unit=unit)

    # -- commands ------------------------------------------------------------------------------

    def hello(self, command: dict[str, Any]) -> None:
        self.result(
            command,
            versions={"tacita": "0.1.0", "torch": "none"},
            protocol_version=1,
            keyring=self.keys_value(),
            schemes={"hint": None, "glwe": os.environ.get("FAKE_ENGINE_NO_GLWE")},
        )

    def keys_value(self) -> dict[str, str]:
        return {"state": self.keys, "backend": "Fake keyring", "detail": ""}

    def keys_status(self, command: dict[str, Any]) -> None:
        self.result(command, **self.keys_value())

    def keys_use(self, command: dict[str, Any]) -> None:
        self.keys = command["mode"]
        self.result(command, **self.keys_value())

    def test_connection(self, command: dict[str, Any]) -> None:
        url = command["server"]["url"]
        for host, (outcome, message) in OUTCOMES.items():
            if host in url:
                if outcome == "tls" and command["server"].get("pinned_certificate") == SHOWN:
                    break
                shown = SHOWN if outcome == "tls" else None
                self.result(command, outcome=outcome, message=message, certificate_sha256=shown)
                return
        self.result(
            command,
            outcome="ok",
            message="",
            rtt_ms=12.4,
            models=["smollm2-135m", "gpt2"],
            seconds_per_token=0.31,
            mb_per_token=0.7,
        )

    def connect(self, command: dict[str, Any]) -> None:
        self.status("connecting")
        wait_for(os.environ.get("FAKE_ENGINE_CONNECT_GATE"), self.stop_requested)
        failure = os.environ.get("FAKE_ENGINE_CONNECT_ERROR")
        if self.stop_requested.is_set():
            failure = "cancelled"
        if failure:
            self.status("offline")
            self.error(command, failure)
            return
        self.status("downloading_hints", 120_000_000, 420_000_000, "bytes")
        self.status("preparing_keys", 3, 121)
        self.status("ready")
        url = "local" if command.get("local") else command["server"]["url"]
        self.result(command, model="smollm2-135m", server=url, hint_bytes=420_000_000, layers=121)

    def estimate(self, command: dict[str, Any]) -> None:
        words = sum(len(message["content"].split()) for message in command["messages"])
        self.result(command, prompt_tokens=words, seconds=words * 0.1, mb=words * 0.7)

    def watch_layers(self, command: dict[str, Any]) -> None:
        self.watching = bool(command["on"])
        self.result(command)

    def ask(self, command: dict[str, Any]) -> None:
        said = command["messages"]
        begun = ""
        if command.get("continue"):
            assert said[-1]["role"] == "assistant", "only a reply can be continued"
            begun = said[-1]["content"]
            said = said[:-1]
        assert said[-1]["role"] == "user", "the last message must be the user's"
        text = str(said[-1]["content"])
        self.status("prompt", 3, 12, "tokens")
        if "fail" in text:
            self.status("ready")
            self.error(command, "server_gone")
            return
        stopped, words = self.reply(command, text, begun)
        self.status("ready")
        self.result(
            command,
            text="".join(words),
            stopped=stopped,
            prompt_tokens=12,
            reply_tokens=len(words),
            seconds_first=0.5,
            seconds_per_token=0.25,
            bytes_up=300_000 * len(words),
            bytes_down=400_000 * len(words),
            rounds=121 * len(words),
            truncated_turns=0,
            reason="stopped" if stopped else "end",
        )

    def reply(self, command: dict[str, Any], text: str, begun: str) -> tuple[bool, list[str]]:
        sent: list[str] = []
        for piece in after(begun, pieces_for(text)):
            if self.stop_requested.is_set():
                return True, sent
            self.one_token(command, piece, len(sent))
            sent.append(piece)
            if len(sent) == 1:
                wait_for(os.environ.get("FAKE_ENGINE_PIECE_GATE"), self.stop_requested)
            if "crash" in text and not begun and len(sent) == 3:
                os._exit(3)
        return False, sent

    def one_token(self, command: dict[str, Any], piece: str, index: int) -> None:
        self.status("token", index + 1, 256, "tokens")
        self.layers(index)
        self.send(event="piece", id=command["id"], text=piece)
        self.up += 300_000
        self.down += 400_000
        self.slots -= 1
        self.send(
            event="meter",
            bytes_up=self.up,
            bytes_down=self.down,
            hint_bytes=420_000_000,
            seconds_per_token=0.25 + 0.05 * (index % 5),
            tokens_left_in_epoch=self.slots,
            rounds=121 * (index + 1),
            kinds={
                "rounds": [self.up, self.down],
                "hints": [900, 420_000_000],
                "files": [800, 90_000],
            },
        )
        if self.pace:
            self.stop_requested.wait(self.pace)

    def layers(self, index: int) -> None:
        if not self.watching:
            return
        for group in range(0, 121, 4):
            self.send(event="layer", index=group, total=121)
            head = base64.b64encode(os.urandom(1728)).decode()
            block = f"model.layers.{group // 4}.self_attn.q_proj+k_proj+v_proj"
            name = block if group < 120 else "lm_head"
            place = {"index": group, "total": 121}
            self.send(event="server_view", group=name, rows=1, n=576, head=head, **place)

    # -- the two threads -------------------------------------------------------------------------

    def run_work(self) -> None:
        while (command := self.work.get()) is not None:
            getattr(self, command["cmd"])(command)

    def read(self) -> None:
        log = os.environ.get("FAKE_ENGINE_LOG")
        for line in sys.stdin:
            if log:
                with open(log, "a", encoding="utf-8") as file:
                    file.write(line)
            command = json.loads(line)
            if command["cmd"] == "stop":
                self.stop_requested.set()
                self.result(command)
            elif command["cmd"] == "shutdown":
                self.result(command)
                return
            else:
                if command["cmd"] in ("ask", "connect"):
                    self.stop_requested.clear()
                self.work.put(command)


def wait_for(path: str | None, unless: threading.Event | None = None) -> None:
    """Wait until a file exists (or an event is set): how a test holds the engine at a point."""
    while path and not Path(path).exists() and not (unless and unless.is_set()):
        time.sleep(0.01)


def pieces_for(text: str) -> Any:
    """The pieces of the reply to ``text``; without end for ``forever``."""
    if "forever" in text:
        return ("again " for _ in iter(int, 1))
    if "markdown" in text:
        return iter([MARKDOWN[i : i + 4] for i in range(0, len(MARKDOWN), 4)])
    if "story" in text:
        return iter([word + " " for word in STORY.split()])
    if text.startswith("long "):
        return (
            f"word{i}. " + ("\n\n" if i % 40 == 39 else "") for i in range(int(text.split()[1]))
        )
    return iter([word + " " for word in SENTENCE.split()])


def after(begun: str, pieces: Any) -> Any:
    """The pieces that follow a reply that has begun; an endless one ends a while later."""
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > len(begun):
            yield piece
        if begun and length > len(begun) + 2 * len(SENTENCE):
            return


def main() -> None:
    engine = Engine()
    threading.Thread(target=engine.run_work, daemon=True).start()
    engine.read()
    os._exit(0)


if __name__ == "__main__":
    main()
