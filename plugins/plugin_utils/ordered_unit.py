# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit that is worked on by a work order: what that says in place of the inventory, and how its TPM proves itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.order_challenge import OrderedProof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import AUTHORIZATIONS
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import SET_BY

CLIENTS = {"builtin": "__dps_client_builtin_options", "aziot": "__dps_client_aziot_options"}


class NotOrderedError(Exception):
    """Why a unit is on no order, as a sentence to follow its name."""


class OrderedUnit:
    """One unit. No authorization of it is here: those are sealed in the order's challenge."""

    def __init__(self, found: Mapping[str, Any], host: str) -> None:
        """*found* is what ``work_order_units`` returned for the batch. NotOrderedError where *host* is on none."""
        unit = (found.get("units") or {}).get(host)
        if unit is None:
            why = (found.get("refused") or {}).get(host, "it is on no work order")
            raise NotOrderedError(f"{why}. Nothing was done to it: set it aside, and ask the owner of the order.")
        self._unit = unit
        self._install = unit["install"]
        self._proof: OrderedProof | None = None

    @property
    def options(self) -> dict[str, str]:
        """Options of the task that the order says."""
        return {"flavour": self._install["client"], "client": CLIENTS[self._install["client"]]}

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the roles and of the device record that the order says, whatever the inventory does."""
        # Of a master key in the inventory nothing is made.
        unset = dict.fromkeys(("ownership_owner_auth", "ownership_lockout_auth", "ownership_endorsement_auth"), "")
        unset.update(dict.fromkeys(("dps_client_owner_auth", "dps_client_endorsement_auth", "dps_client_ca_file"), ""))
        version, profile, client = self._unit["key_version"], self._install["profile"], self._install["client"]
        return {
            **unset,
            "ownership_state": "claimed",
            "ownership_key_version": version,
            "tpmfleet_key_version": version,
            "ownership_profile": profile,
            "dps_client_ownership_profile": profile,
            "tpmfleet_ownership_profile": profile,
            "ownership_client_flavour": client,
            "dps_client_flavour": client,
            "dps_client_id_scope": self._install["id_scope"],
            "dps_client_global_endpoint": self._install["global_endpoint"],
        }

    @staticmethod
    def known_of(record: Mapping[str, Any]) -> dict[str, Any]:
        """*record* of the journal without the key version of what this line did before.

        The owner may have rotated it since, which no journal hears of: his order says what the unit has now.
        """
        ownership = {name: value for name, value in (record.get("ownership") or {}).items() if name != "key_version"}
        return {**record, "ownership": ownership}

    @staticmethod
    def without_authorizations(options: Mapping[str, Any]) -> dict[str, Any]:
        """*options* of a claim of ownership, whose authorizations the order has sealed."""
        return {name: value for name, value in options.items() if name not in AUTHORIZATIONS}

    def with_certificates(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """*options* of the client, with the certificate authorities of the order where it has any."""
        certificates = self._install.get("ca_certificates")
        return {**options, "ca_certificates": certificates} if certificates else dict(options)

    def proof(self) -> OrderedProof:
        """The proof by the order's challenge. PossessionError where that is none."""
        self._proof = OrderedProof(self._unit["challenge"], self._unit["answer_sha256"])
        return self._proof

    def fault_of(self, hierarchies: Mapping[str, bool]) -> str | None:
        """How its TPM shows itself to be owned otherwise than ordered, once it is claimed; None where it is as ordered.

        *hierarchies* is as of the module ``tpm_ownership``.
        """
        ordered = {f"{one}_auth_set" for one in SET_BY[self._install["profile"]]}
        wrong = sorted(name for name, is_set in hierarchies.items() if is_set != (name in ordered))
        if not wrong:
            return None
        shown = " and ".join(f"{one.removesuffix('_set')} {'set' if hierarchies[one] else 'empty'}" for one in wrong)
        return (
            f"it shows {shown}, which is not the ownership profile {self._install['profile']} that the work order "
            f"{self._unit['number']} has for it"
        )

    @property
    def disabled_elsewhere(self) -> str:
        """What is said first where it does not prove its key: the line has no right at the DPS."""
        number = self._unit["number"]
        return (
            f"its enrollment can be disabled by the owner of the work order {number} alone: tell him first, and send "
            f"him {number}.report."
        )

    @property
    def outcome(self) -> dict[str, Any]:
        """What the report has of it: the number of the order, and the answer of its TPM once that was right."""
        return {"number": self._unit["number"], "answer": self._proof.answer if self._proof else {}}
