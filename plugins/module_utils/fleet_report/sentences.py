# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The causes of an event, under the name of before, until all that asks for them there has moved."""

from __future__ import annotations

from ..ledger.causes import causes

__all__ = ["causes"]
