# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook doctor over a rack: a healthy one is well, each fault of a device is found, and nothing is changed."""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture(scope="module")
def line(start_line):
    """A line of four devices, as their makers deliver them."""
    return start_line(4)


def look(line, tmp_path, *arguments):
    """(the run, its report)."""
    path = tmp_path / "doctor.json"
    done = line.play("doctor", "-e", f"tpmfleet_doctor_report={path}", *arguments)
    assert path.exists(), done.printed
    return done, json.loads(path.read_text())


def test_a_healthy_rack_is_well_and_a_sick_one_is_told_by_cause(line, tmp_path):
    done, report = look(line, tmp_path)
    assert done.code == 0 and done.changed <= 1, done.printed
    assert report["causes"] == [] and report["counts"]["ok"] == 4, report["causes"]
    assert "DOCTOR: 4 of 4 devices are well, 0 with a fault; the station is well" in done.printed
    for said in report["devices"].values():
        [library] = [one for one in said["findings"] if one["check"] == "library"]
        assert re.search(r"tpm2-tss [0-9]+\.", library["detail"]), library
    station = {one["check"]: one for one in report["station"]["findings"]}
    assert re.match(r"[0-9]+\.[0-9]+\.[0-9]+ in /", station["collection"]["detail"]), station["collection"]
    assert {"output", "quota", "id_scope"} <= set(station)

    names = sorted(report["devices"])
    broken = {names[0]: "tpm-lockout", names[1]: "tpm-gone", names[2]: "powered-off"}
    for name, fault in broken.items():
        line.rack.break_(name, fault)
    done, report = look(line, tmp_path)
    assert done.code != 0
    found = {
        name: {one["check"] for one in said["findings"] if one["verdict"] == "fault"}
        for name, said in report["devices"].items()
    }
    assert found == {names[0]: {"lockout"}, names[1]: {"tpm"}, names[2]: {"connection"}, names[3]: set()}
    assert names[3] not in done.bad
    for name in broken:
        assert name in done.printed
    assert "the TPM is in dictionary attack lockout (errors.md#tpm-lockout)" in done.printed


def test_a_station_with_a_fault_fails_and_the_devices_are_looked_at_all_the_same(line, dps_at, tmp_path):
    own = dict(part.split("=", 1) for part in dps_at(line.directory / "dps").where["connection_string"].split(";"))
    wrong = ";".join(f"{name}={value}" for name, value in {**own, "SharedAccessKey": "d3Jvbmc="}.items())
    done, report = look(line, tmp_path, "-e", f"tpmfleet_dps_connection_string={wrong}")
    assert done.code != 0 and "d3Jvbmc=" not in done.printed
    assert report["station"]["why"] == "the service refuses the credential", report["station"]
    assert len(report["devices"]) == 4 and "The station: the service refuses the credential" in done.printed


def test_an_id_scope_of_another_service_is_a_fault_where_azure_may_be_read(line, dps_at, tmp_path):
    where = dps_at(line.directory / "dps").where
    own = ("subscription_id", "resource_group", "instance", "tenant", "client_id", "secret")
    instance = {name: where["management"][name] for name in own}
    instance |= {
        "authority_host": where["endpoint"],
        "resource_manager": where["endpoint"],
        "ca_file": where["ca_file"],
    }
    given = tmp_path / "azure.json"
    given.write_text(json.dumps({"tpmfleet_azure": instance}))
    done, report = look(line, tmp_path, "-e", f"@{given}")
    assert report["station"]["verdict"] == "ok", report["station"]
    [scope] = [one for one in report["station"]["findings"] if one["check"] == "id_scope"]
    assert scope["cause"] == "the ID scope is the service's"
    done, report = look(line, tmp_path, "-e", f"@{given}", "-e", "tpmfleet_dps_id_scope=0neFFFFFFFF")
    assert done.code != 0 and report["station"]["why"].startswith("the ID scope is not the service's")
    assert where["management"]["secret"] not in done.printed


def test_check_mode_says_the_same(line, tmp_path):
    done, report = look(line, tmp_path)
    checked = line.play("doctor", "--check")
    assert checked.code == done.code and report["lines"][0] in checked.printed
