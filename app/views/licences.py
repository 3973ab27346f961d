"""The libraries this program is built with, and their licences, read from what is installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from PySide6.QtWidgets import QDialog, QPlainTextEdit, QVBoxLayout, QWidget

from app import theme
from app.views import parts

EXTRAS = ("app", "client", "server", "glwe")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 60


@dataclass(frozen=True)
class Library:
    """One library: its name, version and licence as its authors give it."""

    name: str
    version: str
    licence: str


def libraries(root: str = "tacita") -> list[Library]:
    """What ``root`` needs, directly or not, as far as it is installed here; by name."""
    found: dict[str, Library] = {}
    waiting = [root]
    while waiting:
        try:
            one = distribution(waiting.pop())
        except PackageNotFoundError:
            continue
        name = str(one.metadata["Name"])
        if name.lower() not in found:
            found[name.lower()] = Library(name, one.version, _licence(one))
            waiting += _needs(one, own=name == root)
    found.pop(root, None)
    return [found[name] for name in sorted(found)]


def _needs(one: Distribution, *, own: bool) -> list[str]:
    names = []
    for line in one.requires or []:
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", line)
        if extra is None or (own and extra[1] in EXTRAS):
            match = _NAME.match(line)
            names += [match[0]] if match else []
    return names


def _licence(one: Distribution) -> str:
    def given(name: str) -> list[str]:
        return [str(line) for line in one.metadata.get_all(name) or []]

    classified = [line.rpartition(" :: ")[2] for line in given("Classifier") if "License" in line]
    lines = "\n".join(given("License")).strip().splitlines()
    short = lines[:1] if lines and len(lines[0]) <= _LONGEST else []
    return ", ".join(given("License-Expression") or short or classified) or "?"


class LicencesDialog(QDialog):
    """A list to read and to copy from."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Licences"))
        parts.size_for_text(self, 560, 480)
        self.list = QPlainTextEdit()
        self.list.setReadOnly(True)
        self.list.setTabChangesFocus(True)
        self.list.setAccessibleName(self.tr("Libraries and their licences"))
        lines = [f"{one.name} {one.version}: {one.licence}" for one in libraries()]
        self.list.setPlainText("\n".join(lines))
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.NORMAL)
        parts.margins(layout, theme.WIDE)
        text = self.tr(
            "Tacita is free software under the Apache License 2.0. These libraries come with it, "
            "each under its own licence. Qt is used under the LGPL 3: you may replace it."
        )
        layout.addWidget(parts.label(text, wrap=True))
        layout.addWidget(self.list, 1)
        layout.addLayout(parts.row(1, parts.button(self.tr("Close"), self.accept)))
