# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Distinguished names: compared as RFC 5280, 7.1 asks, and written for people as in RFC 4514.

They are compared by what they say and not by their bytes. Makers write one name in several string types, and the parts
of a part in any order, which DER forbids.
"""

from __future__ import annotations

from typing import NamedTuple

from ..outside.visible import visible
from ..tpm import der
from .limits import MAXIMAL_IDENTIFIER_BYTES, shortened

COMMON_NAME = "2.5.4.3"
_SHORT = {
    COMMON_NAME: "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
}
_ENCODINGS = {0x0C: "utf-8", 0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
# NumericString, PrintableString, IA5String, VisibleString.
_ASCII_STRINGS = (0x12, 0x13, 0x16, 0x1A)


# What names are compared by: the attributes of each part, in any order.
NameKey = tuple[frozenset[tuple[str, str]], ...]


class Name(NamedTuple):
    """A name; *attributes* are (object identifier, value) in their order, *key* is equal for equal names."""

    attributes: tuple[tuple[str, str], ...]
    key: NameKey

    def __str__(self) -> str:
        told = ", ".join(f"{_SHORT.get(kind, kind)}={value}" for kind, value in self.attributes) or "(empty name)"
        return shortened(told)


def read_name(content: bytes) -> Name:
    """The name whose RDNSequence has this *content*."""
    attributes: list[tuple[str, str]] = []
    key = []
    for part in der.elements(content):
        pairs = [_attribute(one) for one in der.elements(part.content)]
        attributes += pairs
        key.append(frozenset((kind, " ".join(value.casefold().split())) for kind, value in pairs))
    return Name(tuple(attributes), tuple(key))


def _attribute(one: der.Element) -> tuple[str, str]:
    kind, value = der.elements(one.content)
    return object_identifier(kind), text_of(value)


def text_of(value: der.Element) -> str:
    """The text of a string, without what could act on a terminal; hexadecimal where it is none."""
    encoding = "ascii" if value.tag in _ASCII_STRINGS else _ENCODINGS.get(value.tag)
    try:
        return visible(value.content.decode(encoding)) if encoding else value.content.hex()
    except UnicodeDecodeError:
        return value.content.hex()


def object_identifier(one: der.Element) -> str:
    """An OBJECT IDENTIFIER as numbers with dots (X.690, 8.19)."""
    if one.tag != 0x06 or not one.content or one.content[-1] & 0x80:
        raise der.DerError("is no object identifier")
    if len(one.content) > MAXIMAL_IDENTIFIER_BYTES:
        raise der.DerError(f"has an object identifier of {len(one.content)} bytes, which nobody has given out")
    numbers: list[int] = []
    number = 0
    for octet in one.content:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
