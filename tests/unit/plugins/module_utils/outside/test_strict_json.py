# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JSON that has no meaning, two of them, or no end."""

from __future__ import annotations

import contextlib
import json
import random
import time
import tracemalloc

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.strict_json import JsonError, parse

DEEP = 100_000


@pytest.mark.parametrize("text", ['{"a": [1, -2.5e3, null, true, "ä\\u00e4\\ud83d\\ude00"]}', b'"\xc3\xa4"', "[]", "0"])
def test_what_is_right_is_what_python_says(text):
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON (Expecting value at character 1)"),
        ('{"a": 1', "is not JSON (Expecting ',' delimiter at character 8)"),
        ('{"a": 1}\n\n{"b"', "is not JSON (Extra data at character 1 of its line 3)"),
        ("[" * DEEP, "is nested deeper than 32 levels, at character 33"),
        ('{"a":' * DEEP, "is nested deeper than 32 levels, at character 161"),
        ("[" * 33 + "]" * 33, "is nested deeper than 32 levels, at character 33"),
        ('{"a": 1, "b": 2, "a": 3}', "has the name 'a' twice in one object"),
        ('[{"\\u202e": 1, "\\u202e": 2}]', r"has the name '\u202e' twice in one object"),
        ("NaN", "has NaN, which is no number in JSON"),
        ("[-Infinity]", "has -Infinity, which is no number in JSON"),
        ("1e999", "has a number that no computer has room for (1e999)"),
        ("1." + "1" * 1000, "has a number that no computer has room for (1.11111111111111… with 1,002 characters)"),
        ("18446744073709551616", "has a number that needs more than 64 bits (18446744073709551616)"),
        ("9" * 500_000, "has a number that needs more than 64 bits (9999999999999999… with 500,000 characters)"),
        ('"\\u0000"', r"holds a NUL (\u0000), which no text can have"),
        ('"a\0b"', "is not JSON (Invalid control character at at character 3)"),
        ('[{"a\\ud800b": 1}]', r"holds half a character (the lone surrogate \ud800)"),
        ('"\\udc00\\ud800"', r"holds half a character (the lone surrogate \udc00)"),
        (b'"M\xfcnchen"', "is not UTF-8: byte 0xfc at character 3"),
        (b"\xff\xfe[\x00]\x00", "is not UTF-8: byte 0xff at character 1"),
        ("[" + "1," * 600_000 + "1]", "is longer than 1,048,576 characters"),
    ],
    ids=range(21),
)
def test_what_is_not_is_told_with_its_place_soon_and_in_little_memory(text, words):
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(JsonError) as told:
            parse(text)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert str(told.value) == words
    assert time.process_time() - begun < 1


def test_brackets_in_text_are_not_nested():
    text = json.dumps({"a": "[{" * 100, "b": '\\"[' * 100})
    assert parse(text) == json.loads(text)


def any_value(chance, depth=0):
    """A value of any kind, with text of any characters."""
    kind = chance.randrange(7 if depth < 5 else 5)
    if kind < 3:
        return chance.choice([None, True, chance.randint(-(2**63), 2**64 - 1), chance.uniform(-1e9, 1e9)])
    letters = [[chance.randrange(0x80), chance.randrange(0x110000), 0xD83D, 0] for _at in range(4)]
    text = "".join(chr(chance.choice(one)) for one in letters)
    if kind < 5:
        return text
    inner = [any_value(chance, depth + 1) for _at in range(chance.randrange(4))]
    return inner if kind == 5 else {f"{text}{at}": one for at, one in enumerate(inner)}


def test_it_takes_what_it_can_give_back_and_refuses_the_rest_in_words():
    chance = random.Random(14)
    taken = 0
    for _value in range(3000):
        value = any_value(chance)
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
        try:
            assert parse(text) == json.loads(text)
            taken += 1
            text.encode()
            assert "\\u0000" not in json.dumps(value, ensure_ascii=False)
        except JsonError as error:
            assert "NUL" in str(error) or "surrogate" in str(error)
            assert "\\u0000" in text or "\\ud" in json.dumps(value)
    assert 500 < taken < 2900


def test_nothing_else_than_words_comes_of_any_bytes():
    chance = random.Random(14)
    marks = b'[]{}",:\\u0dE+-1 \xfftrue'
    for _text in range(20_000):
        text = bytes(chance.choice(marks) for _at in range(chance.randrange(40)))
        with contextlib.suppress(JsonError):
            parse(text)
