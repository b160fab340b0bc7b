"""The throughput of a run as a picture: an SVG on a ground of its own, so that a light and a dark page show it alike.

Nothing of it comes from documents or names: only numbers and our own words are in it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable

from penstock.flows.telling.series import Samples

WIDTH, HEIGHT = 860, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 36, 56, 48
_GROUND, _INK, _FAINT, _GRID = "#ffffff", "#1f2430", "#5b6270", "#dfe3ea"
_LINES = {"prepared": ("#b45309", "6 3"), "embedded": ("#0b63b5", "")}
"""Stage → colour and dashes: told apart without colours as well."""
_STEPS = (1, 2, 5, 10)
_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def data_uri(svg: str) -> str:
    """The picture as an address that needs no server."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def svg(samples: Samples) -> str:
    """Tokens a second over the seconds of the run, by stage, with a mark where a commit landed."""
    top = _top(max((rate for rates in samples.rates.values() for rate in rates), default=0.0))
    span = max(samples.seconds, samples.width)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Tokens a second over the run">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{_GROUND}"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600" fill="{_INK}">Throughput, tokens/s</text>',
        *_legend(samples),
        *_rows(top),
        *_columns(span),
        *_marks(samples, span),
    ]
    for stage, rates in samples.rates.items():
        colour, dashes = _LINES[stage]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _points(rates, samples, span, top))
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')
    return "".join([*parts, "</svg>"])


def _points(rates: Iterable[float], samples: Samples, span: float, top: float) -> Iterable[tuple[float, float]]:
    """A step for each span of time."""
    for place, rate in enumerate(rates):
        for at in (place * samples.width, min((place + 1) * samples.width, span)):
            yield _x(min(at, span), span), _y(rate, top)


def _legend(samples: Samples) -> Iterable[str]:
    at = _LEFT
    for stage in samples.rates:
        colour, dashes = _LINES[stage]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<line x1="{at}" y1="40" x2="{at + 26}" y2="40" stroke="{colour}" stroke-width="2"{dashed}/>'
        yield f'<text x="{at + 32}" y="44" fill="{_INK}">{stage}</text>'
        at += 118
    yield f'<line x1="{at}" y1="34" x2="{at}" y2="46" stroke="{_FAINT}" stroke-width="1.5"/>'
    yield f'<text x="{at + 8}" y="44" fill="{_INK}">commit ({len(samples.commits)} marks)</text>'


def _rows(top: float) -> Iterable[str]:
    for step in range(5):
        rate = top * step / 4
        y = _y(rate, top)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{_FAINT}">{rate:,.0f}</text>'


def _columns(span: float) -> Iterable[str]:
    step = next((each for each in _TIMES if span / each <= 8), 86400 * math.ceil(span / 86400 / 8))
    y = HEIGHT - _BOTTOM
    for number in range(int(span / step) + 1):
        x = _x(number * step, span)
        yield f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 5}" stroke="{_FAINT}"/>'
        yield f'<text x="{x:.1f}" y="{y + 20}" text-anchor="middle" fill="{_FAINT}">{_time(number * step)}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle" fill="{_FAINT}">time since the run began</text>'


def _marks(samples: Samples, span: float) -> Iterable[str]:
    foot = HEIGHT - _BOTTOM
    for place in samples.commits:
        x = _x(min((place + 0.5) * samples.width, span), span)
        yield f'<line x1="{x:.1f}" y1="{foot - 10}" x2="{x:.1f}" y2="{foot}" stroke="{_FAINT}" stroke-width="1.5"/>'


def _x(seconds: float, span: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * seconds / span


def _y(rate: float, top: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * rate / top


def _top(most: float) -> float:
    """The end of the axis: four rows of a round number."""
    if most <= 0:
        return 4.0
    size = 10.0 ** math.floor(math.log10(most / 4))
    return 4 * next(step * size for step in _STEPS if step * size * 4 >= most * (1 - 1e-9))


def _time(seconds: float) -> str:
    seconds = int(seconds)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds / 60:g} min"
    return f"{seconds / 3600:g} h" if seconds < 172_800 else f"{seconds / 86400:g} d"
