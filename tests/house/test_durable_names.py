# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names are made, changed and removed by what has them on the disk before anybody relies on them."""

from __future__ import annotations

import ast
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
# By what they are called on; what is called so on anything else is a path's.
CALLS = {
    "os": {"rename", "replace", "link", "symlink", "unlink", "remove", "rmdir", "mkdir", "makedirs"},
    "shutil": {"rmtree", "move"},
    "durable": set(),
    "placement": set(),
}
METHODS = {"rename", "symlink_to", "hardlink_to", "unlink", "rmdir", "mkdir", "write_text", "write_bytes", "touch"}
# Where it is done otherwise, and why nothing is lost by that.
OTHERWISE = {
    "plugins/module_utils/outside/durable.py": "is what does it",
    "plugins/module_utils/client/placement.py": "shreds what it removes, and has durable note that it is gone",
    "plugins/module_utils/client/software_tpm.py": "has all synced at the end, also what swtpm_setup made",
    "plugins/module_utils/ledger/database.py": "links, which leaves another station's ledger alone, and syncs",
    "plugins/module_utils/ledger/upgrade.py": "a copy that the database writes by itself; synced, and its name",
    "plugins/module_utils/outside/progress.py": "is for who watches, and says nothing that lasts",
    "plugins/module_utils/lists/text_file.py": "a copy for the time of a read",
    "plugins/module_utils/runtime/going_on.py": "is in /run, which no power cut leaves anything of",
    "plugins/module_utils/trust/archives.py": "unpacks for the time of a read",
    "plugins/plugin_utils/noting_action.py": "is between the processes of one run",
    "roles/dps_client/files/tpmfleet_dps_client/state.py": "reserves the room for it beforehand, and syncs",
}


def changes_names(path):
    """The lines of *path* where a name on a disk is made, changed or removed past :mod:`durable`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if node.func.attr in CALLS.get(of, METHODS):
                found.append(node.lineno)
    return found


def test_each_name_on_a_disk_is_durable_or_it_is_said_why_not():
    files = [*(COLLECTION / "plugins").rglob("*.py"), *(COLLECTION / "roles").glob("[!l]*/files/**/*.py")]
    found = {str(path.relative_to(COLLECTION)) for path in files if changes_names(path)}
    assert found == set(OTHERWISE)
