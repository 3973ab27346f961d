"""The palette is legible: contrast as WCAG 2 computes it."""

from __future__ import annotations

from dataclasses import fields

import pytest
from PySide6.QtGui import QColor

from app.theme import DARK, LIGHT, Colours

BACKGROUNDS = ("window", "surface", "sidebar", "bubble", "code", "hover")


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour."""

    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    found = QColor(colour)
    red, green, blue = (linear(v) for v in (found.redF(), found.greenF(), found.blueF()))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black on white)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_itself() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0, abs=0.01)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_text_has_the_contrast_of_level_aa(palette: Colours, background: str) -> None:
    below = getattr(palette, background)
    assert contrast(palette.text, below) >= 7.0
    assert contrast(palette.muted, below) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_coloured_text_and_signs_have_the_contrast_of_level_aa(palette: Colours) -> None:
    for name in ("danger", "warning", "accent"):
        for background in ("window", "surface", "bubble", "sidebar"):
            ratio = contrast(getattr(palette, name), getattr(palette, background))
            assert ratio >= 4.5, (name, background)
    assert contrast(palette.on_accent, palette.accent) >= 4.5
    assert contrast(palette.text, palette.mark) >= 4.5
    for background in ("window", "surface", "sidebar"):  # the ring around what has the focus
        assert contrast(palette.accent, getattr(palette, background)) >= 3.0


def test_both_palettes_are_whole() -> None:
    for entry in fields(Colours):
        if entry.name != "dark":
            assert QColor(getattr(LIGHT, entry.name)).isValid(), entry.name
            assert QColor(getattr(DARK, entry.name)).isValid(), entry.name
    assert (LIGHT.dark, DARK.dark) == (False, True)
