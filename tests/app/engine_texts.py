"""``python -m tests.app.engine_texts``: the texts of all error codes as a program that lupdate reads."""

from __future__ import annotations

import json
import sys

from fhe_client.error_codes import CODES


def texts() -> list[str]:
    """Every text of every code, once."""
    found = [text for entry in CODES.values() for text in (entry.message, entry.next_step)]
    found += [text for entry in CODES.values() for text in entry.detailed]
    return sorted(set(found))


if __name__ == "__main__":
    for text in texts():
        sys.stdout.write(f"translate('engine', {json.dumps(text, ensure_ascii=False)})\n")
