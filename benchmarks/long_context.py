"""Long conversations: seconds and bytes of a token far into a context, across epochs, and past the end of the window.

    python -m benchmarks.long_context [--model smollm2-135m] [--contexts 100 1000 1900] [--tokens 40] [--overflow]
                                      [--checkpoint FILE] [--json FILE]

The product's own chat over loopback reads a text of that many tokens and writes a reply; the same model in the clear
(fp32, all cores, a process of its own) takes its turn after each. An epoch has 1,024 slots, so two of the three default
contexts cross into another. With --overflow a conversation is asked that does not fit into the model's window, and a
message that does not by itself: what the chat says then.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from benchmarks.conversation import ClearTwin
from benchmarks.setting import cores

TEXTS = Path(__file__).with_name("texts")
TURN_WORDS = 300


def measure(chat: Any, twin: ClearTwin, context: int, tokens: int) -> dict[str, Any]:
    """One context: read it, write a reply, then the clear twin."""
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    chat.forget()
    message = Message("user", _text(chat, context))
    options = GenerationOptions(max_tokens=tokens, temperature=0.0)
    epochs, marks = chat.epochs_used, [(time.perf_counter(), _moved(chat))]

    def note(_text: str) -> None:
        marks.append((time.perf_counter(), _moved(chat)))

    reply = chat.ask([message], options, on_piece=note)
    steps = [late[0] - early[0] for early, late in pairwise(marks[1:])]
    clear = twin.ask({"prompt": reply.prompt_tokens, "tokens": tokens})
    return {
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "epochs_begun": chat.epochs_used - epochs,
        "first_s": reply.seconds_first,
        "token_s": reply.seconds_per_token,
        "slowest_piece_s": max(steps, default=0.0),
        "mb_per_token": (marks[-1][1] - marks[1][1]) / max(1, reply.reply_tokens - 1) / 1e6,
        "prompt_mb": (marks[1][1] - marks[0][1]) / 1e6,
        "clear_first_s": clear["prefill"],
        "clear_token_s": clear["token"],
    }


def _moved(chat: Any) -> int:
    traffic = chat.traffic()
    return int(traffic.bytes_up + traffic.bytes_down)


def _words() -> Iterable[str]:
    """The words of the texts, again and again."""
    return cycle([w for path in sorted(TEXTS.glob("*.txt")) for w in path.read_text().split()])


def _text(chat: Any, tokens: int) -> str:
    """A text whose prompt is as long as asked for, or a word shorter; measured in steps, as estimates take time."""
    words, text = iter(_words()), ""
    step = max(1, tokens // 2)
    while step:
        longer = f"{text} {' '.join(next(words) for _ in range(step))}".strip()
        if _length(chat, longer) <= tokens:
            text = longer
        else:
            step //= 2
    return text


def _length(chat: Any, text: str) -> int:
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    size: int = chat.estimate(
        [Message("user", text)], GenerationOptions(max_tokens=1)
    ).prompt_tokens
    return size


def overflow(chat: Any, window: int, tokens: int) -> dict[str, Any]:
    """A conversation of turns that together do not fit, and one message that does not."""
    from fhe_client.errors import TacitaError
    from fhe_client.text.generation import GenerationOptions
    from fhe_client.text.transcript import Message

    chat.forget()
    words, turns = iter(_words()), []
    size = min(TURN_WORDS, max(1, window // 8))
    for _ in range(2 * window // size):
        turns += [Message("user", " ".join(next(words) for _ in range(size)))]
        turns += [Message("assistant", " ".join(next(words) for _ in range(size)))]
    turns.append(Message("user", "What was this about?"))
    options = GenerationOptions(max_tokens=tokens, temperature=0.0)
    reply = chat.ask(turns, options)
    try:
        chat.ask([Message("user", " ".join(next(words) for _ in range(2 * window)))], options)
        said = "nothing"
    except TacitaError as error:
        said = f"{error.message} {error.next_step}"
    return {
        "window": window,
        "turns": len(turns),
        "truncated_turns": reply.truncated_turns,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "first_s": reply.seconds_first,
        "token_s": reply.seconds_per_token,
        "too_long": said,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as one JSON value."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat
    from fhe_client.keys import MasterKey
    from fhe_server.imports.pull import pull

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    twin = ClearTwin(options.checkpoint or pull(options.model), cores())
    key = MasterKey.generate(origin="session")
    with key, open_chat(ConnectOptions(model=options.model), key, Callbacks()) as chat:
        try:
            contexts = [measure(chat, twin, n, options.tokens) for n in options.contexts]
        finally:
            twin.close()
        window = chat.manifest.context_length
        past = overflow(chat, window, options.tokens) if options.overflow else None
    return {"model": options.model, "load_before": load, "contexts": contexts, "overflow": past}


def table(result: dict[str, Any]) -> str:
    """A Markdown table of one result."""
    lines = [
        "| context | prompt read, s (clear) | MB of the prompt | s per token (clear) | ratio | MB per token "
        "| slowest piece, s | epochs begun |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['prompt_tokens']} + {r['reply_tokens']} | {r['first_s']:.2f} ({r['clear_first_s']:.2f}) "
        f"| {r['prompt_mb']:.0f} | {r['token_s']:.4f} ({r['clear_token_s']:.4f}) "
        f"| {r['token_s'] / r['clear_token_s']:.2f} | {r['mb_per_token']:.3f} | {r['slowest_piece_s']:.2f} "
        f"| {r['epochs_begun']} |"
        for r in result["contexts"]
    ]
    if past := result["overflow"]:
        lines += [
            "",
            f"Window {past['window']}: of {past['turns']} turns the oldest {past['truncated_turns']} were left out, "
            f"{past['prompt_tokens']} tokens read in {past['first_s']:.1f} s, {past['token_s']:.3f} s per token. "
            f"One message that does not fit: {past['too_long']}",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m", help="an imported model")
    parser.add_argument("--checkpoint", type=Path, help="the same model for the clear twin")
    parser.add_argument("--contexts", type=int, nargs="+", default=[100, 1000, 1900])
    parser.add_argument("--tokens", type=int, default=40, help="of a reply (default: 40)")
    parser.add_argument("--overflow", action="store_true", help="past the end of the window, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    result = run(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
