# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a simulated device is: apart from the others and the host, and the same one after a power cycle."""

from __future__ import annotations

import base64
import json
import socket
import stat
import time
from pathlib import Path

import pytest

ONE, TWO, THREE = "rack1-slot01", "rack1-slot02", "rack1-slot03"

ONESHOT = """\
[Service]
Type=oneshot
User=nobody
EnvironmentFile=/etc/default/rack-test
StateDirectory=rack-test
ExecStart=/bin/sh -c 'id -un >> /var/lib/rack-test/ran; echo $WORD >> /var/lib/rack-test/ran'
[Install]
WantedBy=multi-user.target
"""
FAILS_ONCE = """\
[Service]
ExecStart=/bin/sh -c 'if test -e /run/rack-test-failed; then exec sleep 1000; fi; touch /run/rack-test-failed; exit 1'
Restart=on-failure
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
TICK = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo tick >> /run/rack-test-ticks'\n"
TIMER = "[Timer]\nOnBootSec=1s\nOnUnitActiveSec=1s\n[Install]\nWantedBy=timers.target\n"


def _until(holds, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.2)


def _write(console, name: str, path: str, text: str) -> None:
    encoded = base64.b64encode(text.encode()).decode()
    console.said(name, f"mkdir -p $(dirname {path}) && echo {encoded} | base64 -d > {path}")


def test_rack_json_has_the_keys_that_other_programs_read(console):
    entry = console.entry(ONE)
    assert list(entry) == ["name", "serial_number", "tcti", "state_dir", "ssh"]
    assert list(entry["ssh"]) == ["host", "port", "user", "private_key_file", "known_hosts_file"]
    assert Path(entry["state_dir"], "swtpm").is_dir()


def test_secrets_are_for_root_alone(console):
    assert stat.S_IMODE(console.directory.stat().st_mode) == 0o700
    for name in ("ssh_key", "rack.json", "registry.json"):
        assert stat.S_IMODE((console.directory / name).stat().st_mode) == 0o600


def test_a_device_has_its_own_name_and_serial_number(console):
    assert console.said(ONE, "hostname") == ONE
    assert console.said(ONE, "cat /etc/serial-number") == "TF-000001"
    for machine_id in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        assert console.said(ONE, f"cat {machine_id}") != console.said(TWO, f"cat {machine_id}")
    assert console.said(ONE, f"getent hosts {ONE}")


def test_a_device_runs_the_distribution_s_python_and_tpm_library(console):
    said = console.said(ONE, "/usr/bin/python3 -c 'import tpm2_pytss; print(tpm2_pytss.__file__)'")
    assert said.startswith("/usr/lib/python3/dist-packages/")


@pytest.mark.parametrize("directory", ["/etc", "/var/lib", "/usr/lib", "/home", "/root", "/tmp", "/run", "/dev/shm"])
def test_what_one_device_writes_is_seen_by_none_other(console, directory):
    path = f"{directory}/rack-test-isolation"
    console.said(ONE, f"touch {path}")
    assert console.ssh(ONE, f"test -e {path}").returncode == 0
    assert console.ssh(TWO, f"test -e {path}").returncode == 1
    assert not Path(path).exists()


def test_a_device_sees_neither_the_rack_s_keys_nor_other_processes(console):
    assert console.ssh(ONE, f"ls {console.directory}/*").returncode != 0
    assert console.said(ONE, "ls -A /root /home | grep -c key || true") == "0"
    assert "swtpm" not in console.said(ONE, "ps ax")
    assert "rack" not in console.said(ONE, "cut -d' ' -f2 /proc/mounts")
    shadow = [line.split(":")[1] for line in console.said(ONE, "cat /etc/shadow").splitlines()]
    assert set(shadow) == {"*"}


def test_a_device_says_that_systemd_manages_it(console):
    assert console.said(ONE, "cat /proc/1/comm; test -d /run/systemd/system") == "systemd"


def test_what_it_is_asked_to_run_is_counted(console):
    device = console.rack.device(ONE)
    before = device.executions
    console.said(ONE, "true")
    console.ssh(ONE, "false")
    device.execute(["true"])
    assert device.executions == before + 2


def test_a_password_opens_no_session(console):
    access = console.entry(ONE)["ssh"]
    methods = console.said(ONE, "/usr/sbin/sshd -T | grep -E '^(passwordauthentication|permitrootlogin) '").splitlines()
    assert methods == ["permitrootlogin without-password", "passwordauthentication no"]
    assert access["host"] == "127.0.0.1"


def test_a_tpm_comes_certified_and_with_no_persistent_key(console, tmp_path):
    assert console.tpm(ONE, "tpm2_getcap", "handles-persistent").stdout == ""
    assert "0x1C00002" in console.tpm(ONE, "tpm2_getcap", "handles-nv-index").stdout
    line = json.loads((console.directory / "ek-list.jsonl").read_text().splitlines()[0])
    assert base64.b64decode(line["endorsement_key"]) == console.endorsement_key(ONE, tmp_path)
    assert base64.b64decode(line["endorsement_key_certificate"])[:1] == b"\x30"


def test_a_power_cycle_keeps_files_and_persistent_keys_and_nothing_else(console, tmp_path):
    before = console.entry(TWO)
    console.tpm(TWO, "tpm2_createprimary", "-C", "o", "-c", str(tmp_path / "primary"))
    console.tpm(TWO, "tpm2_evictcontrol", "-C", "o", "-c", str(tmp_path / "primary"), "0x81000001")
    console.tpm(TWO, "tpm2_flushcontext", "-t")
    console.said(TWO, "echo kept > /etc/rack-test-kept; touch /run/gone /tmp/gone")
    console.rack.power_cycle([TWO])
    assert console.entry(TWO) == before
    assert "0x81000001" in console.tpm(TWO, "tpm2_getcap", "handles-persistent").stdout
    assert console.said(TWO, "cat /etc/rack-test-kept") == "kept"
    assert console.ssh(TWO, "ls /run/gone").returncode and console.ssh(TWO, "ls /tmp/gone").returncode
    console.tpm(TWO, "tpm2_evictcontrol", "-C", "o", "-c", "0x81000001")


def test_enabled_units_start_at_power_up(console):
    _write(console, THREE, "/etc/default/rack-test", "WORD=spoken\n")
    units = {"once.service": ONESHOT, "fails.service": FAILS_ONCE, "tick.service": TICK, "tick.timer": TIMER}
    for unit, text in units.items():
        _write(console, THREE, f"/etc/systemd/system/rack-{unit}", text)
    console.said(THREE, "systemctl daemon-reload")
    enabled = ("rack-once.service", "rack-fails.service", "rack-tick.timer")
    for unit in enabled:
        console.said(THREE, f"systemctl enable {unit}")
        assert console.said(THREE, f"systemctl is-enabled {unit}") == "enabled"
    assert console.ssh(THREE, "test -e /var/lib/rack-test/ran").returncode == 1
    console.rack.power_cycle([THREE])
    _until(lambda: console.ssh(THREE, "systemctl is-active rack-fails.service").returncode == 0)
    assert console.said(THREE, "cat /var/lib/rack-test/ran").split() == ["nobody", "spoken"]
    assert console.said(THREE, "systemctl is-active rack-tick.timer") == "active"
    _until(lambda: console.ssh(THREE, "grep -c tick /run/rack-test-ticks").stdout.strip() >= "2")
    assert "inactive" in console.ssh(THREE, "systemctl is-active rack-once.service").stdout
    console.said(THREE, "systemctl start rack-once.service")
    assert len(console.said(THREE, "cat /var/lib/rack-test/ran").split()) == 4
    console.said(THREE, "systemctl stop rack-fails.service; systemctl stop rack-tick.timer")
    assert console.ssh(THREE, "systemctl is-active rack-fails.service").returncode
    for unit in enabled:
        console.said(THREE, f"systemctl disable {unit}")
        assert "disabled" in console.ssh(THREE, f"systemctl is-enabled {unit}").stdout


def test_up_again_changes_nothing(console):
    pids = [console.rack.device(name).pid for name in (ONE, TWO, THREE)]
    assert console.rack.up(3) is False
    assert [console.rack.device(name).pid for name in (ONE, TWO, THREE)] == pids


def test_a_device_is_added_and_removed(console):
    console.rack.add("bench")
    assert console.said("bench", "cat /etc/serial-number") == "TF-000004"
    port = console.entry("bench")["ssh"]["port"]
    console.rack.remove("bench")
    assert [one["name"] for one in console.rack.status()] == [ONE, TWO, THREE]
    assert len((console.directory / "ek-list.jsonl").read_text().splitlines()) == 3
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
