# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chain of a device's events: each carries the hash of the one before it, and its own.

What is hashed is the same text whatever database the event is in: the event as JSON in ASCII, with sorted names and
without blanks. An event of before there was a chain carries nothing; its hash goes into the one after it all the same,
so that from the first event with a chain on no earlier one can be changed either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NUMBER, PREVIOUS, HASH = "number", "previous", "hash"
# What an event has of the chain, among what it says.
OF_THE_CHAIN = (NUMBER, PREVIOUS, HASH)
# What the first event of a chain comes after.
NOTHING = "0" * 64
# In the table of heads: the events of devices that were stopped before the ledger knew them, and all of the ledger.
NO_DEVICE, WHOLE_LEDGER = 0, -1


def link(event: Mapping[str, Any], what: Mapping[str, Any], before: tuple[int, str]) -> tuple[str, tuple[int, str]]:
    """(*what* an event says as it is stored, the head after it). A head is how many events there are, and the hash."""
    number, previous = before[0] + 1, before[1]
    said = {**what, NUMBER: number, PREVIOUS: previous}
    digest = hash_of(event, said, previous)
    return text_of({**said, HASH: digest}), (number, digest)


def hash_of(event: Mapping[str, Any], what: Any, previous: str) -> str:
    """SHA-256, in hexadecimal, of an event that comes after the one with the hash *previous*.

    *event* has the columns, and *what* is what it says, without a hash; a text where that is no JSON any more.
    """
    columns = [event[name] for name in ("device", "host", "at", "step", "station")]
    text = json.dumps([previous, *columns, what], sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def text_of(what: Mapping[str, Any]) -> str:
    """What an event says, as the ledger has it."""
    return json.dumps(what, sort_keys=True)


def whole_head(before: tuple[int, str], digest: str) -> tuple[int, str]:
    """The head of the whole ledger after an event with the hash *digest*."""
    return before[0] + 1, hashlib.sha256(f"{before[1]}{digest}".encode("ascii")).hexdigest()


def without_chain(what: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says of its device."""
    return {name: value for name, value in what.items() if name not in OF_THE_CHAIN}
