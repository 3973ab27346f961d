"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QLocale

from app.events import Json, integer, number
from app.i18n import translate


def megabytes(count: float) -> str:
    """Bytes as MB (10^6, as the meter counts) with as many digits as are of use."""
    value = count / 1e6
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return translate("figures", "{0} MB").format(QLocale().toString(value, "f", digits))


def seconds(value: float) -> str:
    """A duration in seconds, minutes or hours."""
    if value < 10:
        return translate("figures", "{0} s").format(QLocale().toString(value, "f", 2))
    if value < 120:
        return translate("figures", "{0} s").format(round(value))
    if value < 7_200:
        return translate("figures", "{0} min").format(round(value / 60))
    return translate("figures", "{0} h").format(QLocale().toString(value / 3_600, "f", 1))


def count(value: int) -> str:
    """An integer with the locale's thousands separators."""
    return QLocale().toString(value)


def reply_line(stats: Json) -> str:
    """The line kept under a reply: traffic, speed, tokens."""
    parts = [
        translate("figures", "{0} up").format(megabytes(number(stats, "bytes_up"))),
        translate("figures", "{0} down").format(megabytes(number(stats, "bytes_down"))),
    ]
    if speed := number(stats, "seconds_per_token"):
        parts.append(translate("figures", "{0} per token").format(seconds(speed)))
    parts.append(translate("figures", "{0} tokens").format(count(integer(stats, "reply_tokens"))))
    if left_out := integer(stats, "truncated_turns"):
        parts.append(
            translate("figures", "the oldest {0} messages were left out").format(count(left_out))
        )
    if stats.get("warned") is True:
        parts.append(
            translate("figures", "the server's answers had impossible values: do not rely on this")
        )
    return " · ".join(parts)


def chat_line(replies: Sequence[Json]) -> str:
    """The figures kept with the replies of one chat, added up; empty while there is no reply."""
    if not replies:
        return ""
    up, down = (sum(number(one, name) for one in replies) for name in ("bytes_up", "bytes_down"))
    tokens = sum(integer(one, "reply_tokens") for one in replies)
    return translate("figures", "This chat: {0} up · {1} down · {2} tokens").format(
        megabytes(up), megabytes(down), count(tokens)
    )
