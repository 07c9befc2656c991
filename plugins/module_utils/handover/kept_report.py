# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A report that is there already: whether it is the one to be written, and what is lost where that is another one."""

from __future__ import annotations

import json
import os
from collections.abc import Collection

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

    TrustError where that is no file, or a report that has what *document* has not, but for *damaged* units, by the
    digests of their keys.
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
            f"The report {visible(path)} is left alone: it has {len(lost)} units, such as "
            f"{visible(lost[0], most=120)}, which this journal does not have, or not done. Bring back the journal that "
            "it was written of. Where that is lost, or the report is another station's, move it away, run again, and "
            "send both to the owner of the order; that of another customer goes to him."
        )
    return False


def _lost_between(written: bytes, document: bytes, damaged: Collection[str | None]) -> list[str]:
    """Which units the report *written* has that *document* has not, or has not done; none where it is no report."""
    try:
        before = report_of(parse(written, most=MOST_BYTES)).units
    except (JsonError, TrustError):
        return []
    states = {one["endorsement_key"]: one["state"] for one in json.loads(document)["units"]}
    kept = {DONE: (DONE,), FAILED: (DONE, FAILED)}
    said = [(one["record"], kept[one["state"]]) for one in before if one["record"][_KEY] not in damaged]
    lost = [record for record, states_kept in said if states.get(record["endorsement_key"]) not in states_kept]
    return [called({"host": record[_KEY], **record}) for record in lost]
