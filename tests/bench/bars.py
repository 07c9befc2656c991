# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stacked bars as SVG, without a library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

COLOURS = ("#1f5fa8", "#e08a1e", "#8a8a8a", "#b9c4d0")
LEFT, TOP, HEIGHT, BAR, GAP = 60, 50, 260, 46, 18


def draw(path: Path, title: str, unit: str, bars: Mapping[str, Mapping[str, float]]) -> None:
    """Writes *path*: one bar for each of *bars*, by its label, of parts by their names, the first at the bottom."""
    parts = list(next(iter(bars.values())))
    most = max(sum(values.values()) for values in bars.values()) or 1
    width = LEFT + len(bars) * (BAR + GAP) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{max(width, 480)}" height="{TOP + HEIGHT + 90}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]
    for step in range(5):
        y = TOP + HEIGHT - HEIGHT * step / 4
        out.append(f'<line x1="{LEFT}" y1="{y}" x2="{width - 20}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{most * step / 4:.2g}</text>')
    out.append(f'<text x="{LEFT}" y="{TOP - 10}">{escape(unit)}</text>')
    for number, (label, values) in enumerate(bars.items()):
        x, y = LEFT + GAP + number * (BAR + GAP), float(TOP + HEIGHT)
        for part, colour in zip(parts, COLOURS):
            height = HEIGHT * values[part] / most
            y -= height
            out.append(f'<rect x="{x}" y="{y:.1f}" width="{BAR}" height="{height:.1f}" fill="{colour}"/>')
        out.append(f'<text x="{x + BAR / 2}" y="{y - 4:.1f}" text-anchor="middle">{sum(values.values()):.2f}</text>')
        for line, word in enumerate(label.split()):
            below = TOP + HEIGHT + 15 + 13 * line
            out.append(f'<text x="{x + BAR / 2}" y="{below}" text-anchor="middle">{escape(word)}</text>')
    for number, (part, colour) in enumerate(zip(parts, COLOURS)):
        x, y = LEFT + 105 * number, TOP + HEIGHT + 62
        out.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colour}"/>')
        out.append(f'<text x="{x + 16}" y="{y + 10}">{escape(part)}</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n")
