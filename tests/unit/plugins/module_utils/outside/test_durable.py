# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the station writes is on its disk when it says so, whole or as it was: plans, the store of roots, a summary."""

from __future__ import annotations

import sys

import pytest

WRITERS = {
    "a plan": """
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.planfile import write_whole
write_whole("file", ["new"])
""",
    "no plan": """
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.batch import forget_plans
names = ("plan_summary", "approved_plan", "manifest")
assert forget_plans({"plan_file": "file", **dict.fromkeys(names)}) is None
""",
    "roots": """
from types import SimpleNamespace
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.root_state import apply
apply(SimpleNamespace(write=["file", "IFX/RootCA/new.crt"], remove=["IFX/old.crt"],
                      files={"file": b"new\\n", "IFX/RootCA/new.crt": b"DER"}), ".")
""",
    "a summary": """
from ansible_collections.tpmfleet.azure_dps.plugins.callback.line_summary import CallbackModule
callback = CallbackModule()
callback.get_option = {"summary_file": "file"}.get
callback._write({"files": []})
""",
}


@pytest.mark.parametrize("what", WRITERS)
def test_what_is_written_is_on_the_disk_when_it_is_said(power_cut, tmp_path, what):
    root = tmp_path / "root"
    (root / "IFX").mkdir(parents=True)
    (root / "IFX" / "old.crt").write_bytes(b"DER")
    (root / "file").write_text("old\n")
    program = "import os\n" + WRITERS[what] + 'os.write(1, b"done")\n'
    recording = power_cut.record([sys.executable, "-c", program], roots=[root], cwd=root)
    assert recording.done.returncode == 0, recording.done.stderr
    assert recording.unsynced(when_said="done") == []
    # Before that it is the old one or the new one, and never a part of it.
    found = {cut.tree.get(f"{root}/file", (None, None))[1] for cut in recording.cuts()}
    end = recording.end.tree.get(f"{root}/file", (None, None))[1]
    assert found == {b"old\n", end} and end != b"old\n"
