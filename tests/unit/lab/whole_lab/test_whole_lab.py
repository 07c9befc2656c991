# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole lab by its program: it says what it changed, keeps what it has, and leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[4] / "roles" / "lab"
WANTED = {"host": "localhost", "port": 0, "address": "", "device_host": "localhost", "settings": {}, "devices": 1}
WANTED |= {"machines": False, "images": "", "mirrors": [], "suites": []}
WANTED |= {"group_vars": str(ROLE.parents[1] / "inventories" / "lab" / "group_vars")}


@pytest.fixture
def lab(tmp_path):
    """A function: whether the program changed the lab in ``lab``."""

    def run(command: str, **wanted: object) -> bool:
        done = subprocess.run(
            [sys.executable, "-m", "whole_lab", command, "--lab-dir", str(tmp_path / "lab")],
            input=json.dumps({**WANTED, **wanted}),
            env={**os.environ, "PYTHONPATH": str(ROLE / "files")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)["changed"]

    yield run
    run("down")


def test_it_says_what_it_changed_and_keeps_what_it_has(lab, tmp_path):
    directory = tmp_path / "lab"
    assert lab("up")
    there = {path.name: path for path in directory.iterdir()}
    assert {path.stat().st_mode & 0o077 for path in there.values()} == {0}
    found = {name: there[name].read_text() for name in ("lab.json", "inventory.yml", "master-key")}
    assert not lab("up")
    assert {name: there[name].read_text() for name in found} == found
    described, inventory = json.loads(found["lab.json"]), yaml.safe_load(found["inventory.yml"])
    assert list(inventory["devices"]["hosts"]) == [device["name"] for device in described["devices"]]
    assert inventory["all"]["vars"]["tpmfleet_dps_id_scope"] == described["device_api"]["id_scope"]
    assert inventory["all"]["vars"]["tpmfleet_station"] == "lab"
    # Another one is another service and one more device; the fleet's key is that of the devices that are there.
    assert lab("up", settings={"throttle": False}, devices=2)
    assert len(json.loads(there["lab.json"].read_text())["devices"]) == 2
    assert there["master-key"].read_text() == found["master-key"]
    assert lab("down") and not directory.exists()
    assert not lab("down")


def test_what_a_part_says_of_its_failure_is_passed_on(lab, tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        lab("up", settings={"throttel": False})
    assert "throttel" in capfd.readouterr().err
