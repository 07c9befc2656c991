# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd unit that the role software_tpm writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[4] / "roles" / "software_tpm"


@pytest.fixture
def unit(tmp_path):
    """The unit as a file, with the role's documented defaults and port 4000."""
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    values = {name: option["default"] for name, option in options.items()} | {"software_tpm_port": 4000}
    template = jinja2.Template(
        (ROLE / "templates" / "tpmfleet-swtpm.service.j2").read_text(), undefined=jinja2.StrictUndefined
    )
    path = tmp_path / "tpmfleet-swtpm.service"
    path.write_text(template.render(values) + "\n")
    return path


def test_systemd_itself_accepts_it(unit):
    """The simulated devices have another init, so systemd's own check stands for the real one."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and unit.name not in done.stdout, done.stdout


def test_it_listens_on_the_loopback_only(unit):
    """Control is one port above, where the TCTI looks for it; whoever else reaches a TPM's port owns the TPM."""
    text = unit.read_text()
    assert "--server type=tcp,bindaddr=127.0.0.1,port=4000 " in text
    assert "--ctrl type=tcp,bindaddr=127.0.0.1,port=4001 " in text
    assert text.count("port=") == text.count("bindaddr=127.0.0.1") == 2


def test_it_starts_at_boot_and_not_as_root(unit):
    text = unit.read_text()
    assert "WantedBy=multi-user.target" in text and "User=tss" in text
