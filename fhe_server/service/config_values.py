"""Readers of settings: the value of a config file or a flag in, what it means out, or ValueError("must be ...")."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def size_of(value: str | int) -> int:
    """Bytes: a number, or one with MB or GB behind it.

    Raises:
        ValueError: it is neither, or not positive.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)B?\s*", str(value), re.IGNORECASE)
    if match is None:
        raise ValueError("must be a size such as 800 MB or 8 GB")
    count: int = round(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))
    if count < 1:
        raise ValueError("must be positive")
    return count


def address_of(value: str) -> tuple[str, int]:
    """HOST:PORT, with an IPv6 address in brackets.

    Raises:
        ValueError: it is not one.
    """
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:9471")
    return host.strip("[]"), int(port)


def number(least: float, most: float, kind: type = int) -> Callable[[Any], Any]:
    """A reader of numbers within bounds."""

    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("must be a number")
        found = kind(value)
        if not least <= found <= most:
            raise ValueError(f"must lie between {least:g} and {most:g}")
        return found

    return read


def one_of(*choices: str) -> Callable[[Any], str]:
    """A reader of one word out of some."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return str(value)

    return read


def text(value: Any) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def path(value: Any) -> Path:
    """A path; ~ is the home folder."""
    return Path(text(value)).expanduser()


def size(value: Any) -> int:
    """See `size_of`."""
    return size_of(value)


def address(value: Any) -> str:
    """Text that `address_of` understands."""
    address_of(text(value))
    return str(value)


def names(value: Any) -> tuple[str, ...]:
    """One name, or a list of them."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(x, str) and x for x in items):
        raise ValueError("must be a list of names")
    return tuple(items)


def switch(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value
