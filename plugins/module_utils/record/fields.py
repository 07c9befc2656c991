# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fields of a device record, each once: what is kept, exported, asked for and taken in goes by this table.

What may stand in a field is in meta/device-record.schema.json.
"""

from __future__ import annotations

from typing import NamedTuple


class Field(NamedTuple):
    """*of_the_tpm*: known of the device only as long as it has that TPM. *asked_for*: people and groups of an
    inventory ask for it, which nobody does for a whole key or certificate.
    """

    of_the_tpm: bool = False
    asked_for: bool = True


_OF_THE_TPM = Field(of_the_tpm=True)
_BULKY_OF_THE_TPM = Field(of_the_tpm=True, asked_for=False)

RECORD_FIELDS = {
    "record_version": Field(asked_for=False),
    "host": Field(),
    "serial_number": Field(),
    "registration_id": _OF_THE_TPM,
    "device_id": Field(),
    "provisioning_status": Field(),
    "iot_edge": Field(),
    "initial_twin": Field(),
    "reprovision_policy": Field(),
    "allocation_policy": Field(),
    "iot_hubs": Field(),
    "custom_allocation": Field(),
    "optional_device_information": Field(),
    "dps_id_scope": Field(),
    "places": Field(asked_for=False),
    "decommission": Field(),
    "tpm_type": _OF_THE_TPM,
    "tpm_manufacturer": _OF_THE_TPM,
    "tpm_model": _OF_THE_TPM,
    "tpm_firmware_version": _OF_THE_TPM,
    "endorsement_key": _BULKY_OF_THE_TPM,
    "endorsement_key_sha256": _OF_THE_TPM,
    "endorsement_key_proven": _OF_THE_TPM,
    "endorsement_key_name": _OF_THE_TPM,
    "endorsement_key_template": _OF_THE_TPM,
    "endorsement_key_certificate": _BULKY_OF_THE_TPM,
    "endorsement_key_certificate_chain": _BULKY_OF_THE_TPM,
    "certified_tpm": _OF_THE_TPM,
    "maker": _OF_THE_TPM,
    "batch": _OF_THE_TPM,
    "storage_root_key": _BULKY_OF_THE_TPM,
    "storage_root_key_name": _OF_THE_TPM,
    "ownership": _OF_THE_TPM,
    "work_order": _OF_THE_TPM,
    "earlier_work_orders": _BULKY_OF_THE_TPM,
    "steps": Field(),
}
OF_THE_TPM = frozenset(name for name, field in RECORD_FIELDS.items() if field.of_the_tpm)
ASKED_FOR = tuple(name for name, field in RECORD_FIELDS.items() if field.asked_for)
