# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of its name, and says how far the list is while it runs."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.followed_action import FollowedAction


class ActionModule(FollowedAction):
    """The module, with its progress followed."""
