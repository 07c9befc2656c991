# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labels on paper: a PDF with a page of the label's own size each, and pictures that are made of those pages.

The code is a QR code (ISO/IEC 18004) with error correction M and its quiet zone of four modules. Equal labels give
equal bytes.
"""

from __future__ import annotations

import io
import itertools
import traceback
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

try:
    import pypdfium2
    import segno
    from fpdf import FPDF
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

from .label import SIZES, Label

REQUIREMENTS = "fpdf2, pypdfium2 and segno"
# Printers of labels do not reach the edge.
_MARGIN_MM = 2.0
_QUIET_ZONE = 4
_DOTS_PER_INCH = 300
_POINTS_PER_INCH = 72
_MM_PER_POINT = 25.4 / _POINTS_PER_INCH
_HEADING_POINTS, _LINE_POINTS, _LEAST_POINTS = 14.0, 8.0, 4.0
_LEADING = 1.2
# The side of the text's room for which these sizes are.
_USUAL_MM = 25.0
_MADE = datetime(2000, 1, 1, tzinfo=timezone.utc)


def pdf(labels: Sequence[Label], size: str) -> bytes:
    """One page a label, in the size of :data:`SIZES` that is called *size*."""
    width, height = SIZES[size]
    document = FPDF(orientation="portrait", unit="mm", format=(width, height))
    # Else two files of the same labels differ.
    document.set_creation_date(_MADE)
    document.set_auto_page_break(False)
    document.set_margin(0)
    document.c_margin = 0
    upright = height > width
    for label in labels:
        document.add_page()
        side = min(width, height) - 2 * _MARGIN_MM
        _draw_code(document, label.coded, side)
        if upright:
            _draw_text(document, label, _MARGIN_MM, 2 * _MARGIN_MM + side, side, height - side - 3 * _MARGIN_MM)
        else:
            _draw_text(document, label, _MARGIN_MM + side, _MARGIN_MM, width - side - 2 * _MARGIN_MM, side)
    return bytes(document.output())


def pictures(document: bytes) -> Iterator[bytes]:
    """The pages of a PDF of :func:`pdf` as PNG, 300 dots an inch."""
    pages = pypdfium2.PdfDocument(document)
    try:
        for page in pages:
            picture = page.render(scale=_DOTS_PER_INCH / _POINTS_PER_INCH, grayscale=True).to_pil()
            buffer = io.BytesIO()
            picture.save(buffer, "PNG", dpi=(_DOTS_PER_INCH, _DOTS_PER_INCH), optimize=True)
            yield buffer.getvalue()
    finally:
        pages.close()


def _draw_code(document: FPDF, text: str, side: float) -> None:
    rows = list(segno.make(text, error="m", micro=False, boost_error=False).matrix_iter(border=_QUIET_ZONE))
    module = side / len(rows)
    document.set_fill_color(0)
    for number, row in enumerate(rows):
        x, y = _MARGIN_MM, _MARGIN_MM + number * module
        # One rectangle for what is side by side, or a viewer shows seams.
        for dark, alike in itertools.groupby(row):
            width = sum(1 for _module in alike) * module
            if dark:
                document.rect(x, y, width, module * 1.01, style="F")
            x += width


def _draw_text(document: FPDF, label: Label, left: float, top: float, width: float, height: float) -> None:
    texts = [(_printable(label.heading), "helvetica", "B", _HEADING_POINTS)]
    texts += [(_printable(line), "courier", "", _LINE_POINTS) for line in label.lines]
    scale = min(width, height) / _USUAL_MM
    while True:
        wrapped = [(_wrapped(document, text, font, style, points * scale, width), font, style, points * scale)
                   for text, font, style, points in texts]  # fmt: skip
        needed = sum(len(lines) * points * _LEADING * _MM_PER_POINT for lines, _font, _style, points in wrapped)
        if needed <= height or _LINE_POINTS * scale <= _LEAST_POINTS:
            break
        scale *= 0.95
    y = top
    for lines, font, style, points in wrapped:
        document.set_font(font, style, points)
        for line in lines:
            y += points * _LEADING * _MM_PER_POINT
            document.text(left, y, line)


def _wrapped(document: FPDF, text: str, font: str, style: str, points: float, width: float) -> list[str]:
    """*text* in lines that fit; a name has no spaces to break it at, so it is broken anywhere."""
    document.set_font(font, style, points)
    lines, line = [], ""
    for character in text:
        if line and document.get_string_width(line + character) > width:
            lines.append(line)
            line = ""
        line += character
    return [*lines, line]


def _printable(text: str) -> str:
    """What the fonts that each PDF reader has can show; another script by its code points."""
    return text.replace("…", "...").encode("latin-1", "backslashreplace").decode("latin-1")
