"""Two small pictures as SVG, written by hand so that no plotting library is needed. Text takes the page's colours."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

COLOURS = (
    "#4269d0",
    "#efb118",
    "#ff725c",
    "#6cc5b0",
    "#3ca951",
    "#ff8ab7",
    "#a463f2",
    "#97bbf5",
)
_WIDTH, _LEFT, _ROW = 760, 190, 30
_STYLE = "<style>text{font:13px sans-serif;fill:#57606a}.t{font-weight:600}</style>"


def stacked(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], unit: str) -> str:
    """Horizontal bars made of parts, with a legend of the first row's parts."""
    longest = max(sum(v for _, v in parts) for _, parts in rows) or 1.0
    scale = (_WIDTH - _LEFT - 80) / longest
    body = [_text(10, 22, title, "t")]
    y = 40
    for name, parts in rows:
        body.append(_text(10, y + 18, name))
        x = float(_LEFT)
        for index, (label, value) in enumerate(parts):
            note = f"{label}: {value:.1f} {unit}"
            body.append(_bar(x, y, value * scale, COLOURS[index % len(COLOURS)], note))
            x += value * scale
        body.append(_text(x + 6, y + 18, f"{sum(v for _, v in parts):.1f} {unit}"))
        y += _ROW
    names = list(dict.fromkeys(label for _, parts in rows for label, _ in parts))
    y = _legend(body, names, y + 12)
    return _page(body, y)


def grouped(
    title: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]], unit: str
) -> str:
    """Groups of horizontal bars, one for each label, the value behind each."""
    longest = max((v for _, bars in groups for _, v in bars), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - 90) / longest
    names = list(dict.fromkeys(label for _, bars in groups for label, _ in bars))
    body = [_text(10, 22, title, "t")]
    y = 40
    for name, bars in groups:
        body.append(_text(10, y + 15, name))
        for label, value in bars:
            colour = COLOURS[names.index(label) % len(COLOURS)]
            body.append(_bar(_LEFT, y, value * scale, colour, f"{label}: {value:.2f} {unit}", 16))
            body.append(_text(_LEFT + value * scale + 6, y + 13, f"{value:.2f} {unit}"))
            y += 19
        y += 10
    y = _legend(body, names, y + 4)
    return _page(body, y)


def _legend(body: list[str], names: Sequence[str], y: int) -> int:
    x = 10
    for index, name in enumerate(names):
        width = 34 + 8 * len(name)
        if x + width > _WIDTH:
            x, y = 10, y + 22
        body.append(_bar(x, y, 12, COLOURS[index % len(COLOURS)], name, 12))
        body.append(_text(x + 18, y + 11, name))
        x += width
    return y + 26


def _bar(x: float, y: float, width: float, colour: str, note: str, height: int = 22) -> str:
    shape = f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{height}"'
    return f'{shape} fill="{colour}"><title>{escape(note)}</title></rect>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{chosen}>{escape(text)}</text>'


def _page(body: Sequence[str], height: int) -> str:
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_STYLE}'
    return "\n".join([head, *body, "</svg>"]) + "\n"
