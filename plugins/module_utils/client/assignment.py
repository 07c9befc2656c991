# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device was assigned by a service, and whether that is to be forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .control import ClientControl

GLOBAL_ENDPOINT = "https://global.azure-devices-provisioning.net"


def service_options() -> dict[str, dict[str, Any]]:
    """The argument specification of a service whose assignments are kept."""
    return {
        "id_scope": {"type": "str", "required": True},
        "global_endpoint": {"type": "str", "default": GLOBAL_ENDPOINT},
        "hubs": {"type": "list", "elements": "str", "default": []},
    }


def is_by(service: Mapping[str, Any], assignment: Mapping[str, Any]) -> bool:
    """Whether *assignment* was made by the *service* of :func:`service_options`."""
    where = ("id_scope", "global_endpoint")
    hubs = [hub.lower() for hub in service["hubs"]]
    hub = str(assignment.get("assigned_hub")).lower()
    return all(assignment.get(name) == service[name] for name in where) and (not hubs or hub in hubs)


def forget(
    client: ClientControl, service: Mapping[str, Any] | None, *, check_mode: bool
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(The assignment before, after); None for none. One by *service* to this very TPM stays."""
    before = client.assignment() if client.installed else None
    if before is None or (service and is_by(service, before) and client.usable()):
        return before, before
    if not check_mode:
        client.forget()
    return before, None


def as_result(before: dict[str, Any] | None, after: dict[str, Any] | None, *, changed: bool) -> dict[str, Any]:
    """What ``dps_register`` returns of it."""
    return {"changed": changed, "assignment": after, "diff": {"before": before or {}, "after": after or {}}}
