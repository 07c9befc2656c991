# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people are shown of text from outside."""

from __future__ import annotations

import unicodedata

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import (
    visible,
    visible_few,
    visible_lines,
)


@pytest.mark.parametrize(
    "text", ["", "pump-1 ~", "Bauteile München", "温度計", "измеритель", "مضخة", "e\u0301", "👩", "☀\ufe0f", "C:\\new"]
)
def test_words_of_every_script_stay_as_they_are(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("admin\u202enimda", "admin\\u202enimda"),
        ("\u2066\u2069\u200e\u200f\u061c", "\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("pump\u200b-1\u200d\ufeff\u2060\u00ad", "pump\\u200b-1\\u200d\\ufeff\\u2060\\xad"),
        ("a\u00a0b\u2003c\u3000d", "a\\xa0b\\u2003c\\u3000d"),
        ("\u3164\uffa0\u2800", "\\u3164\\uffa0\\u2800"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("a\u2028b\u0085c", "a\\u2028b\\x85c"),
        ("a" + "\u0301" * 6, "a" + "\\u0301" * 6),
        (17, "17"),
        (None, "None"),
    ],
)
def test_what_is_not_seen_is_made_visible(text, shown):
    assert visible(text) == shown


def test_what_is_too_long_is_cut_and_said_to_be():
    assert visible("x" * 5, most=5) == "xxxxx"
    assert visible("x" * 5_000_000, most=3) == "xxx… (5,000,000 characters)"
    assert visible_lines("a\x1b\r\nb\n", most=9) == ["a\\x1b", "b", ""]


@pytest.mark.parametrize(
    ("names", "how", "shown"),
    [
        ([], {}, ""),
        (["a"], {}, "a"),
        (list("abcde"), {}, "a, b, c, d, e"),
        (list("abcdef"), {}, "a, b, c, d, e and 1 more"),
        (list("abcd"), {"few": 1, "separator": "; "}, "a and 3 more"),
        ([1, None, "c"], {"few": 2, "separator": "; "}, "1; None and 1 more"),
        (["a\nb", "c\u202e", "d"], {"few": 2}, "a\\nb, c\\u202e and 1 more"),
        (["x" * 81, "y"], {}, "x" * 80 + "… (81 characters), y"),
        (["x" * 81], {"most": None}, "x" * 81),
        (dict.fromkeys("abc"), {"few": 2}, "a, b and 1 more"),
    ],
)
def test_of_many_names_a_few_are_shown_and_the_others_are_counted(names, how, shown):
    assert visible_few(names, **how) == shown


def test_whatever_it_is_the_line_is_printable_and_can_be_written():
    planes = [*range(0x20000), *range(0xE0000, 0xE2000), 0xF0000, 0x10FFFF]
    shown = visible("".join(map(chr, planes)))
    assert shown.isprintable()
    assert not set(map(unicodedata.category, shown)) & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    shown.encode("utf-8")
