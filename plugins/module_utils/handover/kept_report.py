# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A report that is there already: whether it is the one to be written, and what is lost where that is another one."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from ..outside.files import FileError, read_file
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..record.model import called
from ..record.orders import DONE, FAILED
from ..trust.findings import TrustError
from .signature import fingerprint, is_signed_by
from .signed_document import parts_of
from .work_report import MOST_BYTES, NAMESPACE, report_of

_KEY = "endorsement_key_sha256"


def is_there(path: str, document: bytes, signing_key: str, damaged: Collection[str | None]) -> bool:
    """Whether the report at *path* is *document*, and signed by the key.

    TrustError where that is no file, or a report that has what *document* has not, or otherwise, but for *damaged*
    units, by the digests of their keys.
    """
    if not os.path.lexists(path):
        return False
    try:
        signature, written = parts_of(read_file(path, most=MOST_BYTES))
    except FileError as error:
        raise TrustError(f"What is at {visible(path)} {error}, and is left alone.") from None
    except TrustError:
        return False
    if written == document:
        return is_signed_by(document, signature, fingerprint(signing_key), namespace=NAMESPACE)
    lost = _lost_between(written, document, damaged)
    if lost:
        raise TrustError(
            f"The report {visible(path)} is left alone: it has {len(lost)} units of which this journal says less, or "
            f"something else, such as {visible(lost[0], most=200)}. Bring back the journal that it was written of. "
            "Where that is lost, or the report is another station's, move it away, run again, and send both to the "
            "owner of the order; that of another customer goes to him."
        )
    return False


def _lost_between(written: bytes, document: bytes, damaged: Collection[str | None]) -> list[str]:
    """Which units the report *written* has otherwise than *document*, so that its word on them would be lost, and how;
    none where it is no report."""
    try:
        before = report_of(parse(written, most=MOST_BYTES)).units
    except (JsonError, TrustError):
        return []
    after = {one["endorsement_key"]: one for one in json.loads(document)["units"]}
    lost = []
    for unit in before:
        record = unit["record"]
        how = _lost_of(unit, after.get(record["endorsement_key"]))
        if how and record[_KEY] not in damaged:
            lost.append(f"{called({'host': record[_KEY], **record})}, {how}")
    return lost


def _lost_of(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> str | None:
    """What of the word on a unit *before* is not in that of *after*, to follow its name; None for nothing."""
    if after is None:
        return "which it does not have"
    if before["state"] == FAILED:
        unproven = before.get("not_proven") and not (after.get("not_proven") or after.get("answer"))
        return "which did not prove itself" if unproven else None
    if after["state"] != DONE:
        return "which is not done here"
    if (before["at"], before["station"]) == (after["at"], after.get("station", "")):
        # The same journal's own word, of which this is the later one.
        return None
    there, here = (_installed(one) for one in (before["record"], after))
    differs = next((words for words in there if there[words] != here[words]), None)
    return f"which was done with another {differs} there than here" if differs else None


def _installed(unit: Mapping[str, Any]) -> dict[str, Any]:
    """What a unit that is done was given, by the words for it."""
    ownership = unit.get("ownership") or {}
    return {
        "storage root key": unit.get("storage_root_key"),
        "key version": ownership.get("key_version"),
        "ownership profile": ownership.get("profile"),
    }
