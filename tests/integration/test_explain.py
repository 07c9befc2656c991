# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reads the end of a message types the command of its page, and needs neither inventory nor network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import ENTRIES

COLLECTION = Path(__file__).resolve().parents[2]


@pytest.fixture
def say(tmp_path):
    """Runs a command of the page from a directory of its own; what it printed."""

    def run(command, **environment):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    (run.command,) = re.findall(
        r"^\$ (ansible-playbook .*)$", (COLLECTION / "docs" / "errors.md").read_text(), re.MULTILINE
    )
    return run


@pytest.mark.parametrize("callback", ["tpmfleet.azure_dps.line", "ansible.builtin.default"])
def test_the_command_of_the_page_says_what_it_means_and_what_to_do(say, callback):
    printed = say(say.command, ANSIBLE_STDOUT_CALLBACK=callback, ANSIBLE_NOCOLOR="1")
    assert "The TPM is in dictionary attack lockout: 32 failed tries" in printed
    assert "Do: Leave it switched on" in printed and "Units: Hold it up." in printed
    assert "LINE SUMMARY" not in printed


def test_without_a_name_all_are_listed_and_a_wrong_one_is_no_failure(say):
    whole = say(say.command.partition(" -e ")[0])
    assert all(re.search(rf"\b{entry}: ", whole) for entry in ENTRIES)
    assert "Is it tpm-lockout" in say(say.command.replace("tpm-lockout", "tpm-lokout"))
