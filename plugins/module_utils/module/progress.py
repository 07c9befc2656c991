# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the fragment ``tpmfleet.azure_dps.progress``, and what they mean."""

from __future__ import annotations

from typing import Any

from ..outside.progress import Progress
from ..trust.findings import TrustError


def progress_options() -> dict[str, dict[str, Any]]:
    """Their argument specification. The interval is for the action plugin, which follows the file."""
    return {"progress_interval": {"type": "float", "default": 10}, "progress_file": {"type": "path"}}


def progress_of(params: dict[str, Any]) -> Progress:
    """Where the work tells how far it is. TrustError where it never can."""
    return Progress(params["progress_file"], TrustError)
