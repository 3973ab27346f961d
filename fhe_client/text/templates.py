"""Turns messages into the text that a model was trained on, with the model's chat template or a plain one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fhe_client.environment import child_command, frozen
from fhe_client.model.errors import TemplateError
from fhe_client.text.transcript import Message, to_json

RENDER_SECONDS = 10.0
START_SECONDS = 60.0
"""A starting process on a busy machine may take long; a running one may not."""

PLAIN_STOP = "\nUser:"
"""What ends a reply where the plain format is used: the model begins to write the user's next turn."""

_WORKER = Path(__file__).with_name("template_worker.py")
_MAX_LINE = 96 << 20
_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}


def plain_text(messages: Sequence[Message], cut_at: str = "") -> str:
    """The format for models without a chat template, ending where the reply begins.

    Args:
        cut_at: see `TemplateRenderer.render`.
    """
    lines = [f"{_NAMES[m.role]}: {m.content.strip()}" for m in messages]
    return _cut("\n".join([*lines, "Assistant:"]), cut_at)


def _cut(text: str, cut_at: str) -> str:
    if not cut_at:
        return text
    before, found, after = text.partition(cut_at)
    if not found or cut_at in after:
        raise TemplateError(
            "The model's chat template cannot continue a reply.",
            "Let it write a new reply instead.",
        )
    return before


def worker_command() -> list[str]:
    """The command line of the child process that renders templates."""
    if frozen():
        return child_command("fhe_client.text.template_worker")
    # As a file: no package is imported. -P: what lies beside the file must not hide a standard module.
    return [sys.executable, "-P", str(_WORKER)]


class TemplateRenderer:
    """Renders one chat template in a child process with limits on time, memory and output.

    Args:
        template: Jinja source from the server.
        variables: special tokens by name, as templates use them.
        render_seconds: how long one rendering may take.
    """

    def __init__(
        self, template: str, variables: dict[str, Any], render_seconds: float = RENDER_SECONDS
    ) -> None:
        self._template = template
        self._variables = variables
        self._render_seconds = render_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._warm = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child process ahead of its first use. Returns at once."""
        with self._lock:
            self._running()

    def render(self, messages: Sequence[Message], cut_at: str = "") -> str:
        """The text for `messages`, ending where the reply begins.

        Args:
            cut_at: text in the last message that ends the prompt there, so that what the template writes behind an
                assistant's message (the end of its turn) is left out.

        Raises:
            TemplateError: the template failed or exceeded its limits, or does not write `cut_at` exactly once.
        """
        variables = {
            **self._variables,
            "messages": to_json(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": not cut_at,
        }
        request = json.dumps({"template": self._template, "variables": variables})
        with self._lock:
            line = self._exchange(request.encode("ascii") + b"\n")
        return _cut(_read_answer(line), cut_at)

    def close(self) -> None:
        """End the child process."""
        with self._lock:
            self._stop()

    def _exchange(self, request: bytes) -> bytes:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        limit = self._render_seconds + (0.0 if self._warm else START_SECONDS)
        timer = threading.Timer(limit, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            line = process.stdout.readline(_MAX_LINE)
        except OSError:
            line = b""
        finally:
            timer.cancel()
        self._warm = line.endswith(b"\n")
        if not self._warm:
            self._stop()
        return line if self._warm else b""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = subprocess.Popen(
                worker_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows only
            )
            self._warm = False
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent bytes to a process that has ended
                    pipe.close()
        process.wait(timeout=30)


def _read_answer(line: bytes) -> str:
    if not line:
        raise TemplateError("The model's chat template took too long or too much memory.")
    answer = json.loads(line)
    if not isinstance(answer.get("text"), str):
        kind = str(answer.get("error", ""))[:60]
        raise TemplateError(f"The model's chat template refused this conversation ({kind}).")
    text: str = answer["text"]
    return text
