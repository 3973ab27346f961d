"""Where the command line gets passphrases from: the terminal, or a file descriptor for scripts. Never an argument.

`TACITA_PASSPHRASE_FD=3 tacita keys rotate 3<file` reads one passphrase a line, in the order in which they are asked.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping
from typing import BinaryIO

from fhe_client.keys.errors import PassphraseNeededError
from fhe_client.keys.passphrase import check_new_passphrase

FD_VARIABLE = "TACITA_PASSPHRASE_FD"
_MAX_LINE = 4096


class PassphraseInput:
    """Asks for passphrases one after the other."""

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        ask: Callable[[str], str] = getpass.getpass,
        terminal: Callable[[], bool] = lambda: sys.stdin is not None and sys.stdin.isatty(),
    ) -> None:
        self._lines = _lines((os.environ if environ is None else environ).get(FD_VARIABLE, ""))
        self._ask = ask
        self._terminal = terminal

    def existing(self, what: str) -> str:
        """Return a passphrase chosen earlier. Raises `PassphraseNeededError` if there is nobody to ask."""
        return self._next(f"{what}: ")

    def fresh(self, what: str) -> str:
        """Return a new passphrase, typed twice on a terminal. Raises `WeakPassphraseError` too."""
        passphrase = self._next(f"{what}: ")
        check_new_passphrase(passphrase)
        if self._lines is None and self._next(f"{what}, once more: ") != passphrase:
            raise PassphraseNeededError("The two passphrases differ.", "Try again.")
        return passphrase

    def close(self) -> None:
        """Close the file descriptor, if there is one."""
        if self._lines is not None:
            self._lines.close()

    def _next(self, prompt: str) -> str:
        if self._lines is not None:
            line = self._lines.readline(_MAX_LINE).decode("utf-8", "surrogateescape").rstrip("\r\n")
        elif self._terminal():
            line = self._ask(prompt)
        else:
            line = ""
        if not line:
            raise PassphraseNeededError(
                "A passphrase is needed and none was given.",
                f"Run this in a terminal, or name a file descriptor to read it from in {FD_VARIABLE}.",
            )
        return line


def _lines(number: str) -> BinaryIO | None:
    if not number:
        return None
    try:
        return os.fdopen(int(number), "rb")
    except (ValueError, OSError):
        raise PassphraseNeededError(
            f"{FD_VARIABLE} does not name an open file descriptor.",
            f"Redirect one, for example: {FD_VARIABLE}=3 tacita keys ... 3<file",
        ) from None
