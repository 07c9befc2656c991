# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which enrollments belong to one manifest, so that several teams can share one service."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any

from .errors import DpsError

KEYS = ("registration_id", "tags", "optional_device_information")


class Selector:
    """All of: a pattern of the registration ID, tags of the initial twin, values of the device information."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        strange = [name for name in given if name not in KEYS]
        used = {name: value for name, value in given.items() if value}
        if strange or not used:
            raise DpsError(
                f"selector has {'the unknown key ' + strange[0] if strange else 'nothing in it'}.",
                hint=f"It knows {', '.join(KEYS)}. Leave it out to select every TPM enrollment of the service.",
            )
        self._pattern = str(used.get("registration_id") or "*").lower()
        self._tags: Mapping[str, Any] = used.get("tags") or {}
        self._information: Mapping[str, Any] = used.get("optional_device_information") or {}

    def matches(self, registration_id: str, fields: Mapping[str, Any]) -> bool:
        """Whether an enrollment, in normal form, is selected."""
        return (
            fnmatch.fnmatchcase(registration_id.lower(), self._pattern)
            and _holds(fields["initial_twin"]["tags"], self._tags)
            and _holds(fields["optional_device_information"], self._information)
        )


def _holds(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in values and values[name] == value for name, value in wanted.items())
