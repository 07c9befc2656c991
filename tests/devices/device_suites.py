# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices the tests of this folder have: ``LAB_SUITES`` names others than those of ``make test-devices``, and
``LAB_MIRRORS`` what their packages come from, both with spaces in between."""

from __future__ import annotations

import os

# What a release is called by itself, and its Python.
RELEASES = {"bullseye": ("11", "3.9"), "bookworm": ("12", "3.11"), "trixie": ("13", "3.13")}
SUITES = os.environ.get("LAB_SUITES", "").split() or list(RELEASES)
MIRRORS = os.environ.get("LAB_MIRRORS", "").split()
# Device to its suite, in the order in which the rack gives them out.
DEVICES = {f"rack1-slot{place:02}": suite for place, suite in enumerate(SUITES, 1)}
