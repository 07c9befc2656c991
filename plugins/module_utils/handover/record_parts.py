# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is inside the fields of a device record that somebody else wrote: known parts of their types, and no others.

A part that nobody knows would be kept, exported and shown for ever, whatever it is: an authorization, in the worst
case. meta/device-record.schema.json says the same to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..outside.visible import visible
from ..record.fields import RECORD_FIELDS
from ..record.orders import EARLIER, LAST

_FREE = (dict, list)
_TEXT_OR_NOTHING = (str, type(None))
_ORDER: dict[str, Any] = {
    **dict.fromkeys(("number", "state", "at", "written", "expires", "customer", "id_scope", "profile"), str),
    **dict.fromkeys(("content_sha256", "file_sha256", "master_key_check", "station", "reason"), str),
    "key_version": int,
    "report_signers": [str],
    "not_proven": bool,
    "answer": dict.fromkeys(("answer", "nonce", "digests"), str),
}
_STEP = {"at": str, "station": str, "outcome": dict}
# A type, several of which one, an object of parts, or a list of what is in it.
_PARTS: dict[str, Any] = {
    **dict.fromkeys(RECORD_FIELDS, str),
    "record_version": int,
    "iot_edge": bool,
    "initial_twin": _FREE,
    "reprovision_policy": (str, dict),
    "custom_allocation": _FREE,
    "optional_device_information": _FREE,
    "iot_hubs": [str],
    "places": [dict.fromkeys(("dps_id_scope", "registration_id", "endorsement_key", "disabled"), str)],
    "decommission": dict.fromkeys(("begun", "done"), str),
    "endorsement_key_certificate_chain": [str],
    "certified_tpm": {
        **dict.fromkeys(("maker", "root", "certificate_sha256"), str),
        **dict.fromkeys(("manufacturer", "model", "firmware_version"), _TEXT_OR_NOTHING),
        "software": bool,
    },
    "ownership": {
        "profile": str,
        "key_version": int,
        **dict.fromkeys(("owner_auth_set", "lockout_auth_set", "endorsement_auth_set"), bool),
    },
    LAST: _ORDER,
    EARLIER: [_ORDER],
    "steps": dict,
}


def fault_inside(record: Mapping[str, Any]) -> str | None:
    """What in *record* is no part of one, as the end of a sentence about it; None where all is."""
    return next(_faults(record, _PARTS, "the record"), None) or next(
        (fault for name, step in (record.get("steps") or {}).items() for fault in _faults(step, _STEP, f"step {name}")),
        None,
    )


def _faults(value: Any, part: Any, where: str) -> Iterator[str]:
    if isinstance(part, dict):
        if not isinstance(value, Mapping):
            yield f"has {visible(where, most=80)} that is no object"
            return
        for name, inside in value.items():
            if name not in part:
                yield f"has {visible(name, most=60)} in {visible(where, most=80)}, which is not known here"
            else:
                yield from _faults(inside, part[name], name)
    elif isinstance(part, list):
        if not isinstance(value, list):
            yield f"has {visible(where, most=80)} that is no list"
            return
        for inside in value:
            yield from _faults(inside, part[0], where)
    elif not isinstance(value, part) or (isinstance(value, bool) and part is not bool):
        yield f"has {visible(where, most=80)} of another type"
