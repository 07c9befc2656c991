# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is at the place of an order's file, or of the notice that revokes it: neither is written over what it is not."""

from __future__ import annotations

import hashlib
import os

from ..ledger.devices import Devices
from ..ledger.ordered import Units
from ..outside.files import FileError, read_file
from ..outside.visible import visible
from ..record.model import called
from ..record.orders import order_in
from ..trust.findings import TrustError
from .signature import fingerprint
from .signed_document import document_and_key
from .work_order import REVOCATION_NAMESPACE, revoked_number

_MOST_FILE = 256 << 20
_AGE = b"age-encryption.org/"


def file_sha256(path: str) -> str | None:
    """Of what is at *path*, None where nothing is. TrustError where that is no file."""
    content = _content(path)
    return None if content is None else hashlib.sha256(content).hexdigest()


def check_what_is_there(devices: Devices, path: str, found: str, number: str) -> None:
    """TrustError where the file at *path*, of the SHA-256 *found*, is no order, or that of another number."""
    other = devices.order_in_file(found)
    if other not in (None, number):
        raise TrustError(f"The file at {visible(path)} is the work order {other}: give another name.")
    content = _content(path)
    if content and not content.startswith(_AGE):
        raise TrustError(f"What is at {visible(path)} is no work order, and is left alone: give another name.")


def is_notice(path: str, number: str, signing_key: str) -> bool:
    """Whether the notice of the order *number* is at *path*, and not what was cut off or edited.

    TrustError where it is that of another order, which would be lost.
    """
    content = _content(path)
    if content is None:
        return False
    try:
        document, key = document_and_key(content, namespace=REVOCATION_NAMESPACE, most=_MOST_FILE)
        noticed = revoked_number(document)
    except TrustError:
        return False
    if noticed != number:
        raise TrustError(
            f"The notice at {visible(path)} is that of the work order {noticed}: give as dest the file of {number}."
        )
    return key == fingerprint(signing_key)


def check_that_it_can_be_written_again(units: Units, number: str) -> None:
    """TrustError where one of *units* of the order cannot be read, or is on a later order: both would be out."""
    whys = [one.why for one in units.damaged.values()]
    whys += [
        f"{visible(called(one), most=120)} is on a later one, {order_in(one)['number']}"
        for one in units.records.values()
        if order_in(one)["number"] != number
    ]
    if whys:
        raise TrustError(
            f"The file of the work order {number} is gone or another one, and is not written again: {whys[0]}. "
            "Take another number."
        )


def _content(path: str) -> bytes | None:
    try:
        return read_file(path, most=_MOST_FILE) if os.path.lexists(path) else None
    except FileError as error:
        raise TrustError(f"What is at {visible(path)} {error}, and is left alone.") from None
