"""A picture of a noise estimate: variance over grey level, and the fit, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from emds.noise.estimate import NoiseEstimate

Floats = NDArray[np.float64]

_WIDTH, _HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 62, 52
_LEGEND = (("error", "measured"), ("fit", "fitted"), ("law", "fitted, before clipping"))
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}"
    ".axis{stroke:#888}.grid{stroke:#e4e4e4}.point{fill:#1f5fa8}.error{stroke:#1f5fa8}"
    ".fit{fill:none;stroke:#c8501e;stroke-width:2}.law{fill:none;stroke:#c8501e;"
    "stroke-width:1.5;stroke-dasharray:5 4}"
)


def draw_noise_curve(estimate: NoiseEstimate, title: str) -> str:
    """Return the measured variances with the fitted line, before and after clipping.

    Parameters
    ----------
    estimate : NoiseEstimate
        What to draw. Bars are two standard errors to either side.
    title : str
        Stands above the picture.

    Returns
    -------
    str
        An SVG file, 640 × 420 pixels.
    """
    curve, line = estimate.curve, estimate.line
    low, high = _widened(curve.grey.min(), curve.grey.max(), 0.06)
    law = line.height + line.slope * (curve.grey - line.centre)
    bars = np.concatenate([curve.variance - 2 * curve.error, curve.variance + 2 * curve.error])
    bottom, top = _widened(min(bars.min(), law.min()), max(bars.max(), law.max()), 0.06)
    # From 0, unless the variances then were a thin line under the upper edge.
    bottom = 0.0 if bottom < 0.5 * top else bottom

    def x(values: Floats) -> Floats:
        return _LEFT + (values - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(values: Floats) -> Floats:
        height = _HEIGHT - _TOP - _BOTTOM
        return _TOP + height * (1 - (np.clip(values, bottom, top) - bottom) / (top - bottom))

    parts = [f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>']
    for tick in _ticks(bottom, top):
        at = y(np.array([tick]))[0]
        parts.append(_line("grid", _LEFT, at, _WIDTH - _RIGHT, at))
        parts.append(_text(_LEFT - 8, at + 4, f"{tick:g}", "end"))
    for tick in _ticks(low, high):
        at = x(np.array([tick]))[0]
        parts.append(_line("axis", at, _HEIGHT - _BOTTOM, at, _HEIGHT - _BOTTOM + 5))
        parts.append(_text(at, _HEIGHT - _BOTTOM + 20, f"{tick:g}", "middle"))
    parts.append(_line("axis", _LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "mean grey level", "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text text-anchor="middle" transform="translate(18 {middle}) rotate(-90)">'
        "variance of the noise, grey levels²</text>"
    )
    parts.append(_polyline("law", x(curve.grey), y(law)))
    parts.append(_polyline("fit", x(curve.grey), y(line.expected)))
    for number, (kind, name) in enumerate(_LEGEND):
        at = _LEFT + 130.0 * number
        parts.append(_line(kind, at, 40, at + 26, 40))
        parts.append(_text(at + 32, 44, name, "start"))
    ends = zip(
        x(curve.grey),
        y(curve.variance),
        y(curve.variance - 2 * curve.error),
        y(curve.variance + 2 * curve.error),
        strict=True,
    )
    for across, up, under, over in ends:
        parts.append(_line("error", across, under, across, over))
        parts.append(f'<circle class="point" cx="{across:.1f}" cy="{up:.1f}" r="3.5"/>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">\n<style>{_STYLE}</style>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    more = share * (high - low) or 0.01 * abs(high) or 1.0
    return float(low - more), float(high + more)


def _ticks(low: float, high: float) -> Sequence[float]:
    """Return four to nine round numbers between two limits.

    Examples
    --------
    >>> _ticks(61.0, 204.0), _ticks(0.0, 0.9)
    ([75.0, 100.0, 125.0, 150.0, 175.0, 200.0], [0.0, 0.2, 0.4, 0.6, 0.8])
    """
    power = 10.0 ** np.floor(np.log10((high - low) / 4))
    step = max(one * power for one in (1, 2, 2.5, 5) if one * power <= (high - low) / 4)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def _line(kind: str, x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _polyline(kind: str, x: Floats, y: Floats) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'
