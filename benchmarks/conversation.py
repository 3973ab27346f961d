"""Encrypted against clear, side by side in one run: seconds per token, prefill, bytes, memory.

    python -m benchmarks.conversation [--model smollm2-135m] [--rounds 3] [--tokens 48] [--json FILE]

The encrypted chat is the product's own path: embedded server over loopback, audit, `open_chat`. The clear twin
is the same checkpoint in transformers, fp32, in a process of its own, with as many threads as there are cores
and with one. The two take turns, so that a noisy machine hits both; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUESTION = "Write a long story about a lighthouse keeper and the sea."
LONG_TEXT = Path(__file__).with_name("texts") / "alice.txt"
PREFILLS = (40, 64, 256)
KINDS = ("float32", "bfloat16", "int8")
"""In the clear: as published, and the two usual ways to make it faster on a processor."""


class ClearTwin:
    """The same model in the clear, in a child process that answers one command a line.

    Args:
        kind: one of KINDS.
    """

    def __init__(self, checkpoint: Path, threads: int, kind: str = "float32") -> None:
        command = [sys.executable, "-m", "benchmarks.conversation", "--clear", str(checkpoint)]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads), "--kind", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask({"warm": True})

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """One command, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def serve_clear(checkpoint: str, threads: int, kind: str) -> None:
    """The child: prefill and decode of the clear model, timed pass by pass."""
    import torch

    from fhe_server.imports.checkpoint import find_source, load_checkpoint

    torch.set_num_threads(threads)
    model = _as_kind(load_checkpoint(find_source(checkpoint)).model, kind)
    for line in sys.stdin:
        command = json.loads(line)
        ids = [1 + k % 1000 for k in range(command.get("prompt", 8))]
        with torch.no_grad():
            answer = _clear_run(model, torch.tensor([ids]), command.get("tokens", 1))
        print(json.dumps(answer), flush=True)


def _as_kind(model: Any, kind: str) -> Any:
    import torch

    if kind == "int8":  # torch's own: int8 weights, activations quantised on the way
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return model.to(getattr(torch, kind))


def _clear_run(model: Any, ids: Any, tokens: int) -> dict[str, float]:
    started = time.perf_counter()
    output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    prefill = time.perf_counter() - started
    steps: list[float] = []
    for _ in range(tokens):
        begun = time.perf_counter()
        output = model(
            input_ids=output.logits[:, -1:].argmax(-1),
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        steps.append(time.perf_counter() - begun)
    return {"prefill": prefill, "token": statistics.median(steps)}


class Encrypted:
    """The product's own chat, and the model inside it for prompts of an exact length."""

    def __init__(self, chat: Any) -> None:
        self.chat = chat

    def decode(self, tokens: int) -> dict[str, float]:
        """One reply of `tokens` tokens: seconds and bytes of one token after the first."""
        from fhe_client.text.generation import GenerationOptions
        from fhe_client.text.transcript import Message

        self.chat.forget()
        marks: list[tuple[float, int]] = []

        def note(_text: str) -> None:
            traffic = self.chat.traffic()
            marks.append((time.perf_counter(), traffic.bytes_up + traffic.bytes_down))

        options = GenerationOptions(max_tokens=tokens, temperature=0.0)
        reply = self.chat.ask([Message("user", QUESTION)], options, on_piece=note)
        count = reply.reply_tokens - 1
        moved = (marks[-1][1] - marks[0][1]) / count / 1e6
        return {"token": reply.seconds_per_token, "mb": moved, "rounds": reply.rounds}

    def prefill(self, length: int) -> float:
        """Seconds to read a text until its first token, over exactly `length` tokens of prompt if possible."""
        from fhe_client.text.generation import GenerationOptions
        from fhe_client.text.transcript import Message

        self.chat.forget()
        words = LONG_TEXT.read_text(encoding="utf-8").split()
        text = ""
        for word in words:
            longer = f"{text} {word}".strip()
            if self._length(longer) > length:
                break
            text = longer
        options = GenerationOptions(max_tokens=1, temperature=0.0)
        reply = self.chat.ask([Message("user", text or "Hi")], options)
        seconds: float = reply.seconds_first
        return seconds * length / reply.prompt_tokens

    def _length(self, text: str) -> int:
        from fhe_client.text.generation import GenerationOptions
        from fhe_client.text.transcript import Message

        tokens: int = self.chat.estimate([Message("user", text)], GenerationOptions()).prompt_tokens
        return tokens


@contextmanager
def open_encrypted(model: str, seconds: dict[str, float]) -> Iterator[Encrypted]:
    """The chat, and how long each step of opening it took."""
    from fhe_client.chat_events import Callbacks, ConnectOptions
    from fhe_client.connect import open_chat
    from fhe_client.keys import MasterKey

    begun = time.perf_counter()
    with (
        MasterKey.generate(origin="session") as key,
        open_chat(ConnectOptions(model=model), key, Callbacks()) as chat,
    ):
        seconds["open"] = time.perf_counter() - begun
        yield Encrypted(chat)


def measure(model: str, rounds: int, tokens: int) -> dict[str, Any]:
    """All figures of one run; medians over `rounds` alternations."""
    from fhe_server.imports.pull import pull

    opening: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with open_encrypted(model, opening) as encrypted:
        checkpoint = pull(model)
        twins = {n: ClearTwin(checkpoint, n) for n in sorted({1, cores})}
        try:
            for _ in range(rounds):
                _one_round(encrypted, twins, tokens, samples)
        finally:
            for twin in twins.values():
                twin.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {"model": model, "cores": cores, "open_s": opening["open"], "peak_gb": peak, **medians}


def _one_round(
    encrypted: Encrypted, twins: dict[int, ClearTwin], tokens: int, samples: dict[str, list[float]]
) -> None:
    def note(name: str, value: float) -> None:
        samples.setdefault(name, []).append(value)

    found = encrypted.decode(tokens)
    note("token_s", found["token"])
    note("mb_per_token", found["mb"])
    for length in PREFILLS:
        note(f"prefill_{length}_s", encrypted.prefill(length))
    for threads, twin in twins.items():
        clear = twin.ask({"prompt": PREFILLS[0], "tokens": tokens})
        note(f"clear_token_s_{threads}", clear["token"])
        for length in PREFILLS:
            note(f"clear_prefill_{length}_s_{threads}", twin.ask({"prompt": length})["prefill"])


def table(result: dict[str, Any]) -> str:
    """A Markdown table of one result."""
    cores = result["cores"]
    rows = [
        ("seconds per token, encrypted", f"{result['token_s']:.4f}"),
        (
            f"seconds per token, clear fp32, {cores} threads",
            f"{result[f'clear_token_s_{cores}']:.4f}",
        ),
        ("seconds per token, clear fp32, 1 thread", f"{result['clear_token_s_1']:.4f}"),
        (
            "**encrypted / clear**",
            f"**{result['token_s'] / result[f'clear_token_s_{cores}']:.2f}**",
        ),
        ("MB per token on the wire", f"{result['mb_per_token']:.3f}"),
        ("client peak memory, GB", f"{result['peak_gb']:.2f}"),
        ("opening the chat, s", f"{result['open_s']:.1f}"),
    ]
    for length in PREFILLS:
        mine, clear = result[f"prefill_{length}_s"], result[f"clear_prefill_{length}_s_{cores}"]
        rows.append(
            (
                f"prefill of {length} tokens, s (clear; ratio)",
                f"{mine:.2f} ({clear:.2f}; {mine / clear:.1f})",
            )
        )
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clear", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.clear:
        serve_clear(options.clear, options.threads, options.kind)
        return 0
    result = measure(options.model, options.rounds, options.tokens)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
