# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work orders as a line opens them: for it, of its customer, not revoked and not expired, or refused in words."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..outside.files import FileError, read_file
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..trust.findings import TrustError
from .age_file import Reader
from .signature import fingerprint
from .signed_document import checked_document, parts_of
from .work_order import (
    MOST_BYTES,
    NAMESPACE,
    NOTICE,
    REVOCATION_NAMESPACE,
    Order,
    is_expired,
    order_of,
    revoked_number,
)

_MOST_REVOCATION = 64 << 10


class Opened(NamedTuple):
    """An order, the file that it is in, and whose signature it has."""

    path: str
    order: Order
    signed_by: str


class Trusted(NamedTuple):
    """Whose signatures count: a file of allowed signers, and the name in it where there is but one customer."""

    allowed_signers: str
    signer: str | None


class EndedError(TrustError):
    """Why nothing more is done by the orders that are *opened*, of which one has expired or was revoked.

    What was done before can be reported all the same.
    """

    def __init__(self, words: str, opened: Sequence[Opened]) -> None:
        super().__init__(words)
        self.opened = list(opened)


def opened_orders(
    paths: Sequence[str],
    *,
    key: str,
    trusted: Trusted,
    revocations: Sequence[str],
    now: datetime,
    signing_key: str | None = None,
) -> list[Opened]:
    """The orders in the files *paths*, which are for the private key *key*. TrustError for the first that is refused,
    EndedError where they are good and one of them counts no longer.

    One whose report *signing_key* may not sign is refused: what is done by it, nobody would take in.

    An order is revoked by one of the files *revocations*, or by one beside it with ``.revoked`` behind its name, or
    behind any other: either may have been renamed since its owner wrote it.
    """
    reader = Reader(key)
    found = [_opened(path, reader, trusted) for path in paths]
    beside = [path + NOTICE for path in paths if os.path.lexists(path + NOTICE)]
    beside += _renamed(paths, {one.order.terms.number for one in found}, apart_from=beside)
    revoked = {_revoked(path, trusted): path for path in (*revocations, *beside)}
    seen: dict[str, Opened] = {}
    keys: dict[str, Opened] = {}
    for one in found:
        number = one.order.terms.number
        if seen.setdefault(number, one) is not one:
            raise TrustError(f"{visible(one.path)} and {visible(seen[number].path)} are both the work order {number}.")
        for unit in one.order.units:
            other = keys.setdefault(unit, one)
            if other is not one:
                raise TrustError(
                    f"The work orders {other.order.terms.number} and {number} are for the same unit "
                    f"{visible(_called(one.order.units[unit]))}: ask their owner which one counts."
                )
    if signing_key is not None:
        _check_signer(found, signing_key)
    for one in found:
        terms = one.order.terms
        if (terms.number, one.signed_by) in revoked:
            raise EndedError(
                f"The work order {terms.number} in {visible(one.path)} was revoked by its owner "
                f"({visible(revoked[terms.number, one.signed_by])}): stop working on its units and ask him.",
                found,
            )
        if is_expired(terms, now):
            raise EndedError(
                f"The work order {visible(one.path)} ({terms.number}) expired on {terms.expires}, and it is "
                f"{now.strftime('%Y-%m-%dT%H:%M:%SZ')} here. No device was touched: ask its owner for another one, or "
                "mend the clock.",
                found,
            )
    return found


def _opened(path: str, reader: Reader, trusted: Trusted) -> Opened:
    where = f"The work order {visible(path)}"
    try:
        content = reader.decrypted(_read(path, MOST_BYTES + (MOST_BYTES >> 6)))
        document, signed_by = checked_document(content, **trusted._asdict(), namespace=NAMESPACE, most=MOST_BYTES)
        order = order_of(document)
        if reader.recipient not in order.terms.recipients:
            raise TrustError(
                "was written for somebody else, who passed it on: this line's key is not among those that its owner "
                "wrote it for"
            )
    except TrustError as error:
        raise TrustError(f"{where} {error}. No device was touched: get it again from its owner.") from None
    return Opened(path, order, signed_by)


def _check_signer(found: Sequence[Opened], signing_key: str) -> None:
    """TrustError where an order says whose key signs its report, and that is not *signing_key*."""
    telling = [one for one in found if one.order.terms.report_signers]
    own = fingerprint(signing_key) if telling else ""
    for one in telling:
        terms = one.order.terms
        if own not in terms.report_signers:
            raise TrustError(
                f"The work order {terms.number} in {visible(one.path)} is for a line that signs its report with "
                f"{', '.join(terms.report_signers)}, and this one signs with {own} ({visible(signing_key)}), whose "
                "report its owner would refuse. No device was touched: set tpmfleet_work_report_signing_key, or have "
                "the owner order anew, with this key among tpmfleet_work_order_report_signers."
            )


def _revoked(path: str, trusted: Trusted) -> tuple[str, str]:
    """(The number of the order that the file revokes, who signed that)."""
    try:
        content = _read(path, _MOST_REVOCATION)
        document, signed_by = checked_document(
            content, **trusted._asdict(), namespace=REVOCATION_NAMESPACE, most=_MOST_REVOCATION
        )
        return revoked_number(document), signed_by
    except TrustError as error:
        # Whoever can put a file there could stop the line in any case; whoever can spoil it must not undo it.
        raise TrustError(
            f"The revocation {visible(path)} {error}. No device was touched: ask the owner of the order whether it "
            "still counts."
        ) from None


def _renamed(paths: Sequence[str], numbers: Collection[str], *, apart_from: Collection[str]) -> list[str]:
    """The files in the directories of *paths* that say, signed or not, that they revoke an order of *numbers*."""
    directories = sorted({os.path.dirname(path) or "." for path in paths})
    names = [os.path.join(one, name) for one in directories for name in sorted(os.listdir(one))]
    return [name for name in names if name.endswith(NOTICE) and name not in apart_from and _named(name) in numbers]


def _named(path: str) -> str | None:
    """The number that a notice says, which is not to be believed yet; None for what is none."""
    try:
        _signature, document = parts_of(_read(path, _MOST_REVOCATION))
        return revoked_number(parse(document))
    except (TrustError, JsonError):
        return None


def _read(path: str, most: int) -> bytes:
    try:
        return read_file(path, most=most)
    except FileError as error:
        raise TrustError(str(error)) from None


def _called(unit: Mapping[str, Any]) -> str:
    return str(unit.get("serial_number") or unit.get("device_id") or unit["registration_id"])
