# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An EK list for somebody else: what ek_list takes, in one order, and the same bytes whenever it is made."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..ledger.ek_list import checked_entry
from ..outside.visible import visible
from ..trust.listing import CertificateReader

_CERTIFICATE, _CHAIN = "endorsement_key_certificate", "endorsement_key_certificate_chain"
# In the order of the columns. What else a record has is its owner's business.
FIELDS = (
    "batch",
    "tray",
    "position",
    "maker",
    "tpm_manufacturer",
    "tpm_model",
    "tpm_firmware_version",
    "tpm_serial_number",
    "registration_id",
    "endorsement_key",
    "endorsement_key_sha256",
    _CERTIFICATE,
    _CHAIN,
)
# What no two TPMs of a list share.
_UNIQUE = ("endorsement_key_sha256", "registration_id", "tpm_serial_number", _CERTIFICATE)
_NUMBERS = re.compile(r"(\d+)")


class Export(NamedTuple):
    """The rows of a list in their order; what is wrong, as sentences; which TPMs have no certificate."""

    rows: list[dict[str, Any]]
    problems: list[str]
    uncertified: list[str]


def rows_of(records: Iterable[Mapping[str, Any]], *, maker: str, batch: str, tray: str) -> Export:
    """The rows of *records*, device records, each held to what ek_list will hold it to.

    *maker*, *batch* and *tray* are of those that do not say; a record's position is its host where it does not.
    """
    rows, problems = [], []
    reader = CertificateReader()
    for number, record in enumerate(records, start=1):
        read = reader.read(record)
        said = read.record
        entry, faults = checked_entry(said, maker, batch)
        reasons = [*read.problems, *faults]
        if entry is None or reasons:
            problems += [f"{_called(record, number)}: {field or 'the record'} {why}" for field, why in reasons]
            continue
        row = {**entry, "tray": said.get("tray") or tray, "position": said.get("position") or said.get("host")}
        rows.append({name: row[name] for name in FIELDS if row.get(name)})
    rows.sort(key=_order)
    problems += _twins(rows)
    return Export(rows, problems, [_called(row, 0) for row in rows if not row.get(_CERTIFICATE)])


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The list as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def comma_separated(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The list as CSV, where a certificate stands with its chain behind it in one cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [name for name in FIELDS if name != _CHAIN], lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        whole = {name: value for name, value in row.items() if name != _CHAIN}
        if row.get(_CERTIFICATE):
            parts = [row[_CERTIFICATE], *row.get(_CHAIN, ())]
            whole[_CERTIFICATE] = base64.b64encode(b"".join(map(base64.b64decode, parts))).decode("ascii")
        writer.writerow(whole)
    return text.getvalue().encode()


def _called(record: Mapping[str, Any], number: int) -> str:
    names = ("tray", "position", "host", "serial_number", "registration_id")
    found = [visible(record[name], most=80) for name in names if record.get(name)]
    return " ".join(found[:2]) or f"TPM {number}"


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By tray and position as people count them, slot 2 before slot 10."""
    places = [
        [(int(part) if part.isdecimal() else 0, part) for part in _NUMBERS.split(str(row.get(name, "")))]
        for name in ("batch", "tray", "position")
    ]
    return (*places, row["endorsement_key_sha256"])


def _twins(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which TPMs are there twice, or share a place."""
    seen: dict[tuple[str, Any], Mapping[str, Any]] = {}
    found = []
    for row in rows:
        marks = [(name, row[name]) for name in _UNIQUE if row.get(name)]
        if row.get("position"):
            marks.append(("position", (row.get("batch"), row.get("tray"), row["position"])))
        shared = [name for name, value in marks if seen.setdefault((name, value), row) is not row]
        if shared:
            [first] = [seen[mark] for mark in marks if mark[0] == shared[0]]
            found.append(f"{_called(row, 0)} and {_called(first, 0)} have the same {', '.join(shared)}")
    return found
