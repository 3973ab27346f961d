"""Puts the guide's pictures into ``docs/images``, small: ``python -m tests.app.guide_pictures SCREENSHOTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtGui import QImage

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PICTURES = {
    "first-run": "01-first-run",
    "chat": "05-chat",
    "search": "09-search",
    "server-view": "06-working-ribbon",
    "dark": "06-writing-dark",
    "certificate": "10-certificate",
    "model": "11-settings",
    "privacy": "12-settings",
    "sent": "17-sent",
}


def shrink(source: Path, target: Path) -> None:
    """Write a picture again without an alpha channel and packed as tightly as PNG can.

    Raises:
        OSError: the screenshot is missing or cannot be written.
    """
    image = QImage(str(source))
    plain = image.convertToFormat(QImage.Format.Format_RGB888)
    if image.isNull() or not plain.save(str(target), "PNG", 0):
        raise OSError(f"{source} cannot be made into {target}")


if __name__ == "__main__":
    for name, taken in PICTURES.items():
        look = "" if taken.endswith("-dark") else "-light"
        shrink(Path(sys.argv[1]) / f"{taken}{look}-1x.png", IMAGES / f"{name}.png")
