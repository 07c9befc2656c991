# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door of the emulated hubs, for MQTT and HTTPS: open to a device that signs with the key the DPS gave its TPM.

Just enough of a hub to show that an assigned device can hand over to its application: it takes telemetry and notes it.
The key is read from the emulated DPS's database; nothing is shared in code with the client.
"""
