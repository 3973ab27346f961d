"""Prints every accessible object that is showing: role, name, x, y, width, height, text; tab-separated.

Run by the distribution's Python, which has the bindings (python3-gi, gir1.2-atspi-2.0).
"""

from __future__ import annotations

from typing import Any

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi  # noqa: E402 - the version must be named first

LONGEST = 4000


def plain(text: str) -> str:
    """On one line."""
    return " ".join((text or "").split())[:LONGEST]


def text_of(node: Any) -> str:
    """What an object with text holds."""
    try:
        interface = node.get_text_iface()
        return interface.get_text(0, -1) if interface else ""
    except Exception:
        return ""


def walk(node: Any, depth: int = 0) -> None:
    """One object and all below it."""
    if node is None or depth > 60:
        return
    states = node.get_state_set()
    if depth > 1 and not states.contains(Atspi.StateType.SHOWING):
        return
    try:
        box = node.get_extents(Atspi.CoordType.SCREEN)
        place = (box.x, box.y, box.width, box.height)
    except Exception:
        place = (0, 0, 0, 0)
    values = (node.get_role_name(), plain(node.get_name()), *map(str, place), plain(text_of(node)))
    print("\t".join(values))
    for index in range(node.get_child_count()):
        walk(node.get_child_at_index(index), depth + 1)


def main() -> None:
    """Every program on the accessibility bus."""
    desktop = Atspi.get_desktop(0)
    for index in range(desktop.get_child_count()):
        walk(desktop.get_child_at_index(index))


if __name__ == "__main__":
    main()
