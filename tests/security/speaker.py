"""One session of a profile as a process: key and chat are opened as the engine opens them, and something is asked.

    python -m tests.security.speaker URL keyring|passphrase DEED <passphrase

DEED: once; forever (until it is killed); fork (a child tries to speak, too). Run by test_restored_profile.py.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from fhe_client.chat_events import Callbacks, ConnectOptions
from fhe_client.connect import open_chat
from fhe_client.home import Home
from fhe_client.keys import KeyStore
from fhe_client.open_chat import OpenChat
from fhe_client.text.generation import GenerationOptions
from fhe_client.text.transcript import Message

QUESTION = [Message("user", "the cat sat on the mat and the dog ran after the cat")]
CHILD_SECONDS = 100


def ask(chat: OpenChat, tokens: int) -> None:
    """The same question as always, read from its beginning."""
    chat.forget()
    chat.ask(QUESTION, GenerationOptions(max_tokens=tokens, temperature=0))


def fork(chat: OpenChat) -> int:
    """What became of a child that tried to speak: 0 if it was refused, -14 if it hung, else it spoke."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)  # locks that other threads held at the fork stay held
        with suppress(BaseException):
            ask(chat, 2)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(url: str, mode: str, deed: str) -> int:
    passphrase = sys.stdin.readline().rstrip("\n") or None
    store = KeyStore(Home.locate())
    with (
        store.open(mode, passphrase) as key,
        open_chat(ConnectOptions(url=url), key, Callbacks()) as chat,
    ):
        ask(chat, 400 if deed == "forever" else 3)
        status = fork(chat) if deed == "fork" else 0
        ask(chat, 3)
    return 0 if status in (0, -signal.SIGALRM) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
