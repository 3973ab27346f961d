from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QLocale, QTranslator
from PySide6.QtWidgets import QApplication

from app import i18n, sentences
from app.background import failure_of
from app.events import Status
from app.resources import resource

TS = resource("i18n/tacita_de.ts")


def messages() -> Iterator[tuple[str, str, ET.Element]]:
    for context in ET.parse(TS).getroot().iter("context"):
        name = context.findtext("name") or ""
        for message in context.iter("message"):
            translation = message.find("translation")
            assert translation is not None
            yield name, message.findtext("source") or "", translation


def test_every_text_is_translated_with_its_placeholders() -> None:
    found = list(messages())
    assert len(found) > 200
    for _, source, translation in found:
        assert translation.get("type") is None, source
        assert translation.text, source
        places = sorted(re.findall(r"\{\d\}", source))
        assert sorted(re.findall(r"\{\d\}", translation.text)) == places, source


def test_the_compiled_file_is_the_present_one() -> None:
    translator = QTranslator()
    assert translator.load("tacita_de", str(TS.parent))
    for context, source, translation in messages():
        assert translator.translate(context, source) == translation.text


@pytest.fixture
def german(qapp: QApplication) -> Iterator[None]:
    before = set(qapp.findChildren(QTranslator))
    assert i18n.install(qapp, "de") == "de"
    yield
    for translator in set(qapp.findChildren(QTranslator)) - before:
        qapp.removeTranslator(translator)
        translator.deleteLater()
    QLocale.setDefault(QLocale("en"))


def test_the_window_speaks_german(german: None) -> None:
    status = Status("downloading_hints", 1_500_000, 420_000_000, "bytes")
    assert sentences.status_words(status) == "Hints laden · 1,50 MB von 420 MB"


def test_a_failed_piece_of_work_is_told_in_german(german: None) -> None:
    unreadable = failure_of(PermissionError(13, "Permission denied"))
    assert unreadable.message.startswith("Eine Datei ließ sich nicht lesen")
    assert "Permission denied" in unreadable.message
    foreign = failure_of(ValueError("a secret"))
    assert foreign.message == "Etwas ist schiefgegangen."
    assert (foreign.next_step, foreign.details) == ("", "ValueError")


def test_the_choice_of_a_language() -> None:
    assert i18n.chosen_language("de") == "de"
    assert i18n.chosen_language("xx") in i18n.LANGUAGES
    assert i18n.chosen_language("") in i18n.LANGUAGES
