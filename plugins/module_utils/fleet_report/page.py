# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as one HTML file that fetches nothing.

The data is JSON, packed by gzip and base64, so that nothing in it can end the element that it stands in. The Content
Security Policy names the one program and the one style by their digests and allows nothing else, so that text that
became markup in spite of all would still do nothing. Equal data gives equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from html import escape
from typing import Any

_GZIP = 16 + zlib.MAX_WBITS


class PageError(Exception):
    """A part of the page that is not where it should be."""


def page(data: dict[str, Any], title: str, parts: str) -> bytes:
    """The page, from its *parts*, a directory."""
    program = _part(parts, "uplot/uPlot.iife.min.js") + "\n" + _part(parts, "parts/report.js")
    style = _part(parts, "uplot/uPlot.min.css") + "\n" + _part(parts, "parts/report.css")
    policy = (
        f"default-src 'none'; script-src '{_digest(program)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    # The page is a copy of the chart's program, which goes nowhere without its licence.
    licence = f"<!--\nCharts: uPlot\n{_part(parts, 'uplot/LICENSE').strip()}\n-->"
    given = {
        "policy": policy,
        "title": escape(title),
        "licence": licence,
        "style": style,
        "program": program,
        "data": _packed(data),
    }
    document = _part(parts, "parts/report.html")
    for name, value in given.items():
        before, mark, after = document.partition(f"<!--{name}-->")
        if not mark:
            raise PageError(f"The page's frame has no place for its {name}: install the collection again")
        document = f"{before}{value}{after}"
    return document.encode()


def _packed(data: dict[str, Any]) -> str:
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return base64.b64encode(packer.compress(text) + packer.flush()).decode()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(parts: str, name: str) -> str:
    path = os.path.join(parts, name)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        raise PageError(f"The page's part {path} cannot be read: install the collection again") from None
