"""Translation: ``translate(context, text)`` where there is no QObject with ``tr``."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QLocale, QTranslator

from app.resources import resource

LANGUAGES: dict[str, str] = {"": "", "en": "English", "de": "Deutsch"}
translate = QCoreApplication.translate


def chosen_language(setting: str) -> str:
    """The language code for a setting; an empty setting follows the system."""
    if setting in LANGUAGES and setting:
        return setting
    system = QLocale.system().name().split("_")[0]
    return system if system in LANGUAGES else "en"


def install(app: QCoreApplication, setting: str) -> str:
    """Load the translators for a language setting; returns the language in use."""
    language = chosen_language(setting)
    if setting:  # a language that was chosen brings its way of writing numbers
        QLocale.setDefault(QLocale(language))
    if language == "en":
        return language
    qt_folder = QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath)
    for folder, name in ((str(resource("i18n")), "tacita"), (qt_folder, "qtbase")):
        translator = QTranslator(app)
        if translator.load(f"{name}_{language}", folder):
            app.installTranslator(translator)
    return language
