"""The text that import calibrates a model on.

The text that is built in (calibration.txt) holds the preamble of the Constitution of the United States and the
beginning of Moby-Dick, both in the public domain and written from memory, and passages written for this project.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from fhe_server.errors import ServerError

BUILTIN = "builtin"
NONE = "none"
MAX_TEXT_BYTES = 1 << 20
_CHOICES = "Use --calibrate builtin, none, or the path of a text file."


def calibration_text(choice: str) -> str | None:
    """The text of a choice: "none", "builtin", or the path of a file.

    Raises:
        ServerError: the file cannot be used.
    """
    if choice == NONE:
        return None
    if choice == BUILTIN:
        file = importlib.resources.files(__package__) / "calibration.txt"
        return file.read_text("utf-8")
    try:
        path = Path(choice).expanduser()
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise ServerError(
                "The calibration text is larger than 1 MB.", "A page of typical text is enough."
            )
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ServerError(f"Cannot read the calibration text: {reason}.", _CHOICES) from error
    if not text.strip():
        raise ServerError("The calibration text is empty.", _CHOICES)
    return text
