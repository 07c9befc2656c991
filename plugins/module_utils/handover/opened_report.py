# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work report as the owner of the fleet opens it: of one of his orders, and of the line that it is for."""

from __future__ import annotations

from typing import NamedTuple

from ..ledger.ordered import Units
from ..outside.files import FileError, read_file
from ..outside.visible import visible
from ..record.orders import order_in
from ..trust.findings import TrustError
from .signature import signer_of
from .signed_document import document_and_key, parts_of
from .work_report import MOST_BYTES, NAMESPACE, Report, report_of


class OpenedReport(NamedTuple):
    """A report, the file that it is in, whose signature it has, and the fingerprint of the key of that."""

    path: str
    report: Report
    signed_by: str
    key: str


def opened_report(path: str, *, allowed_signers: str | None, signer: str | None) -> OpenedReport:
    """The report in the file *path*. TrustError where it is none that counts.

    Without *allowed_signers* that is for its order to say.
    """
    try:
        content = read_file(path, most=MOST_BYTES)
        name = None
        if allowed_signers:
            signature, document = parts_of(content)
            name = signer_of(document, signature, allowed_signers=allowed_signers, signer=signer, namespace=NAMESPACE)
        said, key = document_and_key(content, namespace=NAMESPACE, most=MOST_BYTES)
        return OpenedReport(path, report_of(said), name or key, key)
    except (FileError, TrustError) as error:
        raise TrustError(
            f"The work report {visible(path)} {error}. Nothing was taken in: get it again from the line."
        ) from None


def check_order(opened: OpenedReport, units: Units, *, key_check: str, id_scope: str, named: bool) -> None:
    """TrustError where what is *opened* is of no order of the ledger, or nothing that counts for that one.

    *units* are the ledger's of that order, *key_check* is that of the master key by which its answers would be judged,
    *named* is whether its line is one of those that count by name.
    """
    where = f"The work report {visible(opened.path)}"
    number = opened.report.number
    orders = [order_in(one, number) for one in units.records.values()]
    if not orders:
        raise TrustError(
            f"{where} is of the work order {number}, which the ledger does not know. Nothing was taken in: is it the "
            "ledger that the order was written with?"
        )
    signers = {signer for one in orders for signer in one.get("report_signers") or ()}
    if signers and opened.key not in signers:
        raise TrustError(
            f"{where} is signed by the key {opened.key}, and the work order {number} is for a line that signs with "
            f"{', '.join(sorted(signers))}. Nothing was taken in: ask that line for its report."
        )
    if not signers and not named:
        raise TrustError(
            f"{where} is of the work order {number}, which does not say whose key signs its report: name the lines "
            "whose reports count in allowed_signers. Nothing was taken in."
        )
    if any(one.get("master_key_check", key_check) != key_check for one in orders):
        raise TrustError(
            f"{where} is of the work order {number}, which was written with another master key than this one, to which "
            "no answer is right. Nothing was taken in: give tpmfleet_master_key as it was."
        )
    scopes = {one.get("id_scope", id_scope) for one in orders}
    if scopes != {id_scope}:
        raise TrustError(
            f"The work order {number} has the ID scope {', '.join(sorted(scopes))}, and id_scope is {id_scope}: the "
            "clients that the line placed would not find their enrollments. Nothing was taken in."
        )
