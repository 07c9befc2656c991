# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that somebody else chose, as people may be shown it: nothing in it moves, hides, colours or reverses anything.

Controls (escape sequences among them), bidirectional marks, zero-width characters, fillers that look like a space and
halves of characters become what they are called in a program: ``\\x1b``, ``\\u202e``. All else, letters of every
script and emoji too, stays as it is. Unicode Technical Report 36, 3.1 to 3.6; CVE-2021-42574.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

# What str.isprintable calls printable though nobody sees it: Default_Ignorable_Code_Point and blank letters.
_UNSEEN = (
    "\u034f"  # combining grapheme joiner
    "\u115f\u1160\u3164\uffa0"  # fillers of Hangul
    "\u17b4\u17b5"  # inherent vowels of Khmer
    "\u180b-\u180f"  # variation and vowel selectors of Mongolian
    "\u2800"  # blank of Braille
    "\ufe00-\ufe0e"  # variation selectors; the next one makes an emoji of a sign and is seen
    "\U000e0000-\U000e0fff"  # tags
)
_SUSPECTS = re.compile(f"[^ -~]|[{_UNSEEN}]")
_UNSEEN_ONE = re.compile(f"[{_UNSEEN}]")
# So many marks may stand on one letter; with more of them they run over the lines above and below.
_STACKED = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{5,}")


def visible(text: object, *, most: int | None = None) -> str:
    """*text* on one line, with what is not seen made visible; cut to *most* characters, which is then said."""
    whole = str(text)
    cut = whole if most is None or len(whole) <= most else whole[:most]
    shown = cut if cut.isascii() and cut.isprintable() else _SUSPECTS.sub(_called, _STACKED.sub(_unstacked, cut))
    return shown if cut is whole else f"{shown}… ({len(whole):,} characters)"


def visible_lines(text: object, *, most: int | None = None) -> list[str]:
    """As :func:`visible`, for text that may have several lines."""
    return [visible(line, most=most) for line in str(text).replace("\r\n", "\n").split("\n")]


def visible_few(names: Collection[object], few: int = 5, most: int | None = 80, separator: str = ", ") -> str:
    """The first *few* of *names*, each as of :func:`visible`, and how many more there are."""
    told = separator.join(visible(name, most=most) for name in islice(names, few))
    return f"{told} and {len(names) - few} more" if len(names) > few else told


def _called(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() and not _UNSEEN_ONE.match(character):
        return character
    return _name(character)


def _unstacked(found: re.Match[str]) -> str:
    return "".join(map(_name, found[0]))


def _name(character: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if short:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
