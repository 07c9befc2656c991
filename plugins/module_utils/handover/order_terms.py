# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an order's owner wants, as the terms of the order: whole, and nothing that no line could work by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..outside.files import FileError, read_file
from ..outside.moments import moment_of
from ..outside.visible import visible
from ..trust.findings import TrustError
from .age_file import checked_recipients
from .signature import fingerprint_of
from .work_order import MOST_CERTIFICATES, Terms, checked_number


def terms_of(params: Mapping[str, Any]) -> Terms:
    """What *params*, the options of the module, say of all units. TrustError for what no order has."""
    expires = moment_of(params["expires"])
    if expires is None:
        raise TrustError(
            f"expires is '{visible(params['expires'], most=60)}', which is no time. Write 2027-01-31, or "
            "2027-01-31T18:00:00Z."
        )
    if params["client"] == "aziot" and params["profile"] != "sdk":
        raise TrustError(
            "Azure's IoT identity service needs the owner authorization in a file that the line would write, and no "
            "line gets one that it can read. Order with the ownership profile 'sdk', or with the client 'builtin'."
        )
    install = {
        "client": params["client"],
        "profile": params["profile"],
        "id_scope": params["id_scope"],
        "global_endpoint": params["global_endpoint"],
    }
    if params["ca_file"]:
        try:
            certificates = read_file(params["ca_file"], most=MOST_CERTIFICATES).decode("ascii", errors="replace")
        except FileError as error:
            raise TrustError(f"ca_file {visible(params['ca_file'])} {error}.") from None
        if "-----BEGIN CERTIFICATE-----" not in certificates:
            raise TrustError(f"ca_file {visible(params['ca_file'])} has no certificate in PEM.")
        install["ca_certificates"] = certificates
    if not 1 <= params["key_version"] < 2**32:
        raise TrustError(f"key_version is {params['key_version']}; it has to be 1 to 4294967295.")
    empty = [name for name in ("owner", "id_scope", "global_endpoint") if not params[name].strip()]
    if empty:
        raise TrustError(f"{empty[0]} is empty, and the line would not know it.")
    recipients = checked_recipients(params["recipients"])
    return Terms(
        number=checked_number(params["number"]),
        owner=params["owner"],
        expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        key_version=params["key_version"],
        recipients=recipients,
        install=install,
        report_signers=_signers_of(params["report_signers"] or [one for one in recipients if one.startswith("ssh-")]),
    )


def _signers_of(keys: Sequence[str]) -> list[str]:
    """The fingerprints of *keys*, each once. TrustError where there are none."""
    # A file of public keys may have several.
    lines = [line for one in keys for line in one.strip().splitlines() or [""]]
    if not lines:
        raise TrustError(
            "No key of SSH is among recipients that could sign the report: give report_signers, the line's public key."
        )
    return list(dict.fromkeys(map(fingerprint_of, lines)))
