# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of hosts that somebody else chose: a device's, and nothing that Ansible or ssh reads as something else."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.inventory_names import name_fault

GROUPS = ("all", "ungrouped", "pumps", "status_assigned")


@pytest.mark.parametrize(
    "name",
    ["unit-1", "pump_0001", "a.b.c", "0042", "1e10", "192.0.2.7", "localhosts", "mylocalhost", "Devices-1", "x" * 128],
)
def test_a_device_is_called_as_it_is(name):
    assert name_fault(name, GROUPS) is None


@pytest.mark.parametrize(
    "name",
    [
        *("localhost", "LocalHost", "localhost.", "localhost4", "x.localhost", "ip6-loopback", "localhost.localdomain"),
        *(
            "localhost6.localdomain6",
            "127.0.0.1",
            "127.1",
            "127.1.",
            "0x7f000001",
            "0x7f.1",
            "2130706433",
            "017700000001",
        ),
        *("0.0.0.0", "::1"),
        *("all", "ungrouped", "pumps", "status_assigned", "devices", "ALL"),
        *("hostvars", "groups", "omit", "ansible_host", "tpmfleet_ledger", "dps_enrollment", "Ansible_Connection"),
        *(
            "-oProxyCommand=x",
            "-v",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "aa:bb",
            "a,b",
            "a*",
            "a?",
            "!a",
            "&a",
            "~a",
            "a[0]",
        ),
        *("root@db", "a;b", "$a", "a'b", "a b", "a\nb", "a\x1b[2J", "\u202ea", "", "x" * 129, "a%h", "a=b", "ä"),
    ],
)
def test_what_would_be_something_else_is_told(name):
    assert name_fault(name, GROUPS)
