# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An emulated Device Provisioning Service: strict, on its own, true to what was verified of the real one.

It imports nothing from the collection's plugins, so that both cannot share a mistake. Sources named in the docstrings:
"facts" are what stock software was seen to do on the wire, "reference" is the service's REST reference, "limits" its
limits page, "troubleshooting" its page of status codes. What none of them settles is marked UNVERIFIED where it is
decided.
"""
