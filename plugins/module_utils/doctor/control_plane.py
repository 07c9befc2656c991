# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the ID scope that devices are given is that of the service. Only Azure Resource Manager tells a service's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..outside.visible import visible, visible_few
from .finding import ATTENTION, FAULT, OK, UNKNOWN, Finding, finding

_CHECK = "id_scope"


def id_scope(scope: str | None, host: str, read: Mapping[str, Any]) -> Finding:
    """The ID *scope* that is set against that of the instance in Azure whose host is the credential's, *host*.

    *read* is what dps_instance_info returned, or failed with; empty where it was not asked.
    """
    if not scope:
        return finding(_CHECK, ATTENTION, "no ID scope is set", "Set tpmfleet_dps_id_scope.")
    shown = visible(scope, most=40)
    if not read or read.get("skipped"):
        return finding(_CHECK, OK, "an ID scope is set", detail=f"{shown}; with tpmfleet_azure it is compared")
    instances = read.get("instances")
    if read.get("failed") or not isinstance(instances, list):
        return finding(
            _CHECK,
            UNKNOWN,
            "whether the ID scope is the service's could not be read in Azure",
            "Mend tpmfleet_azure as the detail says.",
            detail=visible(read.get("msg", "no reason was given"), most=400),
        )
    named = [one for one in instances if not host or _name(one["service_host"]) == _name(host)]
    if not named:
        there = visible_few([one["service_host"] for one in instances], few=3, most=120)
        return finding(
            _CHECK,
            ATTENTION,
            "the credential is for another service than the one that tpmfleet_azure names",
            "Mend tpmfleet_azure, or the tpmfleet_dps_connection_string or tpmfleet_dps_host.",
            detail=f"the credential is for {visible(host, most=120)}, in Azure is {there or 'none of that name'}",
        )
    theirs = [one["id_scope"] for one in named]
    if scope not in theirs:
        return finding(
            _CHECK,
            FAULT,
            "the ID scope is not the service's, so that no device would find its enrollment",
            "Set tpmfleet_dps_id_scope to what the service's page Overview shows.",
            detail=f"set is {shown}, the service has {visible_few(theirs, few=3, most=40)}",
        )
    return finding(_CHECK, OK, "the ID scope is the service's", detail=shown)


def _name(host: Any) -> str:
    return str(host).partition(":")[0].lower()
