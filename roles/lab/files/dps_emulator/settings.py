# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test may change about the service. The defaults are the documented service, with a fast assignment."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RIGHTS = ("ServiceConfig", "EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite")
OWNER = "provisioningserviceowner"
MANAGE = "Manage"
APPLICATION_RIGHTS = (*RIGHTS, MANAGE)


class SettingsError(ValueError):
    """A setting that does not exist or has the wrong type."""


@dataclass
class Settings:
    """Numbers are per service unless said otherwise; times in seconds."""

    linked_hubs: list = field(
        default_factory=lambda: [f"hub-{place}.azure-devices.example" for place in ("eu", "us", "asia")]
    )
    hub_latency_ms: dict = field(default_factory=dict)
    """Hub to milliseconds, for the policy geoLatency; a hub that is not here is far away."""
    default_allocation_policy: str = "hashed"

    policies: dict = field(default_factory=dict)
    """Name to list of rights, besides the owner's policy, which has all. Keys are made here: ``policies.json``."""
    bearer_tokens: dict = field(default_factory=dict)
    """Token to list of rights: stands for what another issuer than ``entra.py`` would have issued."""
    applications: dict = field(default_factory=dict)
    """Entra ID application to list of rights, besides the owner's, which has all. ``Manage`` is the one to the resource
    manager. Secrets are made here: ``GET applications`` of the control API."""
    token_seconds: int = 3600

    resource_groups: list = field(default_factory=list)
    """Those that exist besides ``lab``."""
    management_seconds: float = 0.2
    """How long an operation of the resource manager takes; half a minute in the real one."""

    throttle: bool = True
    operations_per_window: int = 1000
    registrations_per_window: int = 1000
    window_seconds: float = 60.0
    bulk_counts_each: bool = False
    """Whether a bulk call costs one operation or one an enrollment; not documented."""
    poll_throttle: bool = True
    polls_per_window: int = 5
    poll_window_seconds: float = 10.0

    assignment_seconds: float = 0.2
    retry_after_seconds: int = 1
    challenge_seconds: float = 3600.0

    query_page_default: int = 100
    query_page_max: int = 1000
    bulk_max: int = 10
    message_max_bytes: int = 96 * 1024
    refuse_read_only: bool = False
    """Refuse read-only properties in a body. Stock clients send whole records back, so the service ignores them."""
    unique_endorsement_keys: bool = False
    """Refuse an endorsement key that another enrollment has. UNVERIFIED whether the service does."""
    unlinked_hubs_allowed: bool = False

    def update(self, changes: Any) -> None:
        """Applies *changes* (name to value), all or none."""
        if not isinstance(changes, dict):
            raise SettingsError("settings are a JSON object")
        defaults = Settings()
        for name, value in changes.items():
            if not hasattr(defaults, name) or name == "update":
                raise SettingsError(f"there is no setting {name!r}")
            wanted = type(getattr(defaults, name))
            fits = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise SettingsError(f"setting {name!r} is a {wanted.__name__}")
        for name, known in (("policies", RIGHTS), ("bearer_tokens", RIGHTS), ("applications", APPLICATION_RIGHTS)):
            for rights in changes.get(name, {}).values():
                if not isinstance(rights, list) or not set(rights) <= set(known):
                    raise SettingsError(f"{name}: rights are of {', '.join(known)}")
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self) -> dict:
        """All settings, as the control API shows them."""
        return dataclasses.asdict(self)


def read_settings(path: Path | None) -> Settings:
    """The settings of the JSON file *path*, the defaults without one."""
    settings = Settings()
    if path is not None:
        settings.update(json.loads(path.read_text()))
    return settings
