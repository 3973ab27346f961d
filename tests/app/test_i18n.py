from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QLocale, QTranslator
from PySide6.QtWidgets import QApplication

from app import i18n, sentences
from app.background import failure_of
from app.events import Failure, Status
from app.resources import resource
from fhe_client.error_codes import CODES, placeholders
from fhe_client.history import HistoryTransferError
from tests.app import engine_texts

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
        places = sorted(re.findall(r"\{\w*\}", source))
        assert sorted(re.findall(r"\{\w*\}", translation.text)) == places, source


def test_every_text_of_an_error_code_is_translated() -> None:
    known = {source for context, source, _ in messages() if context == "engine"}
    assert set(engine_texts.texts()) <= known


def test_no_text_of_the_window_is_missing_from_the_file(tmp_path: Path) -> None:
    """What lupdate finds now in the program is what the file has."""
    lupdate = shutil.which("pyside6-lupdate", path=str(Path(sys.executable).parent))
    if lupdate is None:
        pytest.skip("pyside6-lupdate is not installed")
    extra, found = tmp_path / "engine_texts.py", tmp_path / "found.ts"
    lines = [f"translate('engine', {text!r})" for text in engine_texts.texts()]
    extra.write_text("\n".join(lines), encoding="utf-8")
    sources = sorted(str(path) for path in (Path(i18n.__file__).parent).rglob("*.py"))
    command = [lupdate, "-silent", "-locations", "none", *sources, str(extra), "-ts", str(found)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    missing = keys(found) - keys(TS)
    assert missing == set(), "run scripts/translate"


def keys(file: Path) -> set[tuple[str, str]]:
    """Context and source of every text in a translation file."""
    return {
        (context.findtext("name") or "", message.findtext("source") or "")
        for context in ET.parse(file).getroot().iter("context")
        for message in context.iter("message")
    }


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


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_is_told_in_german(german: None, code: str) -> None:
    params = {name: "7" for text in CODES[code].detailed for name in placeholders(text)}
    plain = sentences.told(Failure(code, "English.", "English."))
    precise = sentences.told(Failure(code, "English.", "English.", params=params))
    for failure in (plain, precise):
        for text in (failure.message, failure.next_step):
            assert text != "English."
            assert "{" not in text
            assert text.endswith(".")
    if CODES[code].detailed:
        assert "7" in precise.message


def test_an_unknown_code_keeps_its_english(german: None) -> None:
    failure = Failure("of tomorrow", "Something new.", "Do this.")
    assert sentences.told(failure) is failure


def test_in_english_the_engines_own_words_are_kept(qapp: QApplication) -> None:
    failure = Failure("timeout", "No answer within 5 seconds.", "Wait.")
    assert sentences.told(failure) is failure


def test_an_error_of_the_history_is_told_in_german(german: None) -> None:
    failure = sentences.failure_from(HistoryTransferError("English.", "English."))
    assert failure.message == "Diese Datei lässt sich nicht importieren."


def test_the_choice_of_a_language() -> None:
    assert i18n.chosen_language("de") == "de"
    assert i18n.chosen_language("xx") in i18n.LANGUAGES
    assert i18n.chosen_language("") in i18n.LANGUAGES
