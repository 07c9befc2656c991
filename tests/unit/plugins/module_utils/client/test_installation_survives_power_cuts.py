# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is reported of the client's installation is on the disk: a power cut loses nothing of it, and halves nothing."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

# Installs the client below a directory in place of the root, as the module does, and says what the module says.
INSTALL = """
import base64, json, os, pwd, sys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client import files as client_files
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client import installation as client_installation

root, options = sys.argv[1], json.loads(sys.argv[2])
os.umask(0o077)
for module in (client_files, client_installation):
    for name in ("PROGRAM", "COMMAND", "CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "UNIT_DIRECTORY",
                 "CONFIGURATION_FILE", "CA_FILE"):
        if hasattr(module, name):
            setattr(module, name, root + getattr(module, name))
client_files.SECRETS = {name: root + path for name, path in client_files.SECRETS.items()}
client_installation.ACCOUNTS = (root + "/etc",)
if options.pop("user_is_there"):
    client_installation._user = lambda: pwd.getpwuid(os.getuid())
else:
    users = iter([None, None])
    client_installation._user = lambda: next(users, pwd.getpwuid(os.getuid()))
client_installation._in_tpm_group = lambda user: True
client_installation._systemd_runs = lambda: False

def run(argv):
    if argv[0] == "useradd":
        os.rename(root + "/etc/passwd.new", root + "/etc/passwd")
    fails = argv[-1] == "selftest" and options["selftest_fails"]
    return (1, "", "no TPM") if fails else (0, "{}", "")

defaults = {"state": "present", "enabled": True, "started": False, "selftest": True, "purge": False,
            "id_scope": "0ne00000001", "units": {client_files.SERVICE: "[Unit]\\n", client_files.TIMER: "[Unit]\\n"}}
options = {**defaults, "selftest_fails": False, **options}
options["program"] = base64.b64encode(options.get("program", "first").encode()).decode()
installation = client_installation.Installation(options, run=run)
installation.plan()
try:
    installation.apply()
except client_installation.InstallationError as error:
    print("failed:", error)
else:
    print("done")
"""
WHOLE = {"program": "first", "endorsement_auth": "secret", "ca_certificates": "PEM"}


@pytest.fixture
def installed(power_cut, tmp_path):
    """A function: what is recorded of an installation with these options, and the root that it is below."""
    root = tmp_path / "root"
    for directory in ("usr/bin", "usr/lib", "etc/systemd/system", "var/lib"):
        (root / directory).mkdir(parents=True)
    (root / "etc/passwd.new").touch()

    def run(options, *, user_is_there=True):
        said = json.dumps({**options, "user_is_there": user_is_there})
        return power_cut.record([sys.executable, "-c", INSTALL, str(root), said], roots=[root]), root

    return run


def placed(tree, root):
    """What of the client is there, by its path below the root, without what a cut-off run may leave beside it."""
    return {
        path.removeprefix(str(root)): (kind, content)
        for path, (kind, content, *_rest) in tree.items()
        if kind != "directory" and ".new" not in path
    }


@pytest.mark.parametrize("user_is_there", [True, False], ids=["with its user", "without"])
def test_what_is_reported_as_placed_is_on_the_disk(installed, user_is_there):
    recording, root = installed(WHOLE, user_is_there=user_is_there)
    assert recording.done.stdout == "done\n", recording.done
    assert recording.unsynced(when_said="done") == []
    there = placed(recording.end.tree, root)
    assert there["/usr/bin/tpmfleet-dps-client"][0] == "link"
    assert there["/etc/systemd/system/multi-user.target.wants/tpmfleet-dps-client.service"][0] == "link"
    assert there["/etc/tpmfleet-dps-client/endorsement-auth"] == ("file", b"secret\n")


def test_no_name_is_on_the_disk_before_what_it_leads_to(installed):
    """An enabled unit without its file, or a command without its program, would be a boot that fails."""
    recording, root = installed(WHOLE)
    seen = set()
    for cut in recording.cuts():
        there = placed(cut.tree, root)
        for path, (kind, content) in there.items():
            if kind == "link":
                target = content.decode().removeprefix(str(root))
                assert target in there, (cut.after, cut.lost, path)
                seen.add(path)
            else:
                assert content != b"" or path.endswith("passwd"), (cut.after, cut.lost, path)
    assert len(seen) == 3


def test_an_update_leaves_the_old_or_the_new_of_each_file(installed):
    installed(WHOLE)
    recording, root = installed({**WHOLE, "program": "second"})
    assert recording.unsynced(when_said="done") == []
    program = f"{root}/usr/lib/tpmfleet-dps-client/tpmfleet-dps-client.pyz"
    assert {cut.tree[program][1] for cut in recording.cuts()} == {b"first", b"second"}
    assert {cut.tree[program][1] for cut in recording.cuts() if cut.said} == {b"second"}


def test_what_is_put_back_is_on_the_disk(installed):
    installed(WHOLE)
    recording, root = installed({**WHOLE, "program": "second", "id_scope": "0ne00000002", "selftest_fails": True})
    assert "everything was put back as it was" in recording.done.stdout
    assert recording.unsynced(when_said="put back") == []
    program = f"{root}/usr/lib/tpmfleet-dps-client/tpmfleet-dps-client.pyz"
    assert recording.end.tree[program][1] == b"first"


def test_what_is_reported_as_removed_is_gone(installed):
    installed(WHOLE)
    recording, root = installed(
        {
            "state": "absent",
            "purge": True,
            "units": {"tpmfleet-dps-client.service": "", "tpmfleet-dps-client.timer": ""},
        }
    )
    assert recording.done.stdout == "done\n", recording.done
    # What was in a directory that is gone for good is gone with it.
    gone = (f"remove {root}/usr/lib/tpmfleet-dps-client/", f"remove {root}/var/lib/tpmfleet-dps-client/")
    assert [words for words in recording.unsynced(when_said="done") if not words.startswith(gone)] == []
    assert set(placed(recording.end.tree, root)) == set()


def test_a_run_after_any_cut_completes_it(installed, tmp_path):
    """Whatever a cut left, the next run ends with the same, and nothing is in its way."""
    recording, root = installed(WHOLE)
    whole = placed(recording.end.tree, root)
    cuts = list(recording.cuts())
    # Each run takes a third of a second; the states that differ most are far apart.
    for cut in cuts[:: max(1, len(cuts) // 12)]:
        cut.lay_out(root, root)
        again, _root = installed(WHOLE)
        assert again.done.stdout == "done\n", (cut.after, cut.lost, again.done)
        assert placed(again.end.tree, root) == whole, (cut.after, cut.lost)
    shutil.rmtree(tmp_path / "root")
