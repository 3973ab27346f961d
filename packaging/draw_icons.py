"""tacita.ico and, on macOS, tacita.icns from the SVG, drawn by Qt.    draw_icons.py OUT_FOLDER"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PySide6.QtCore import QByteArray, Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

SOURCE = Path(__file__).resolve().parents[1] / "resources/icons/app-colour.svg"


def draw(size: int) -> QImage:
    """The icon at one size."""
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(SOURCE.read_bytes())).render(painter)
    painter.end()
    return image


def main() -> None:
    """Draw what this system's installer wants."""
    QGuiApplication(["icons", "-platform", "offscreen"])
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    draw(256).save(str(out / "tacita.ico"), "ICO")
    if sys.platform == "darwin":
        folder = out / "tacita.iconset"
        folder.mkdir(exist_ok=True)
        for size in (16, 32, 128, 256, 512):
            draw(size).save(str(folder / f"icon_{size}x{size}.png"))
            draw(size * 2).save(str(folder / f"icon_{size}x{size}@2x.png"))
        target = str(out / "tacita.icns")
        subprocess.run(["iconutil", "-c", "icns", str(folder), "-o", target], check=True)


if __name__ == "__main__":
    main()
