# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module doctor_station over the emulated service: each fault is a finding, and nothing is changed."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.doctor import installed, station
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import _quota_left
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import SCHEMA_VERSION, Access, opened

COLLECTION = Path(__file__).resolve().parents[4]
KEY = base64.b64encode(bytes(range(48))).decode()
FITTING = {"forks": 50, "facts_as_variables": False, "master_key": KEY, "id_scope": "0ne00000A1B"}


@pytest.fixture
def look(dps, run_module, tmp_path):
    """What is not well, by check, where the options are changed of a station that is."""

    def run(**changes):
        options = {**FITTING, "ledger": str(tmp_path / "ledger.sqlite"), "requirements": ["requests>=2.0"]}
        given = dps.connection(timeout=5, retry_budget=5, **{**options, **changes})
        result = run_module("doctor_station", **{name: value for name, value in given.items() if value is not None})
        assert result["changed"] is False and KEY not in str(result)
        assert all(one["mend"] or one["verdict"] in ("ok", "unknown") for one in result["findings"])
        run.all = {one["check"]: one for one in result["findings"]}
        return {one["check"]: one for one in result["findings"] if one["verdict"] != "ok"}

    return run


def with_parts(dps, **parts):
    own = dict(part.split("=", 1) for part in dps.where["connection_string"].split(";"))
    return ";".join(f"{name}={value}" for name, value in {**own, **parts}.items())


def with_rights(dps, *rights):
    dps.settings(policies={"some": list(rights)})
    return with_parts(dps, SharedAccessKeyName="some", SharedAccessKey=dps.control("GET", "policies")["some"])


def test_a_station_that_is_well_has_nothing_and_leaves_no_trace(dps, look, tmp_path):
    assert look() == {}
    assert set(look.all) == {
        *("libraries", "settings", "ledger", "master_key", "roots", "dps", "rights", "quota", "clock", "id_scope")
    }
    assert "no ledger yet" in look.all["ledger"]["cause"] and not (tmp_path / "ledger.sqlite").exists()
    assert dps.calls() == {"enrollment.get": 1, "registration.get": 1, "enrollment.delete": 1}
    with opened(str(tmp_path / "ledger.sqlite"), Access.WRITE):
        pass
    before = (tmp_path / "ledger.sqlite").read_bytes()
    assert look() == {} and "can be read" in look.all["ledger"]["cause"]
    assert look.all["ledger"]["detail"] == f"schema version {SCHEMA_VERSION}"
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


def test_a_ledger_of_an_older_schema_is_told_and_not_upgraded(dps, look, tmp_path):
    dump = Path(__file__).parents[1] / "module_utils" / "ledger" / "of_earlier_releases" / "sqlite.sql"
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.executescript(dump.read_text())
    assert look() == {}
    assert "the next step that writes it brings it to the present one" in look.all["ledger"]["cause"]
    assert look.all["ledger"]["detail"] == "schema version 1"


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "words"),
    [
        ({"requirements": ["requests>=999"]}, "libraries", "fault", "999 is the least"),
        ({"requirements": ["no-such-library>=1"]}, "libraries", "fault", "is missing"),
        ({"facts_as_variables": True}, "settings", "fault", "facts"),
        ({"forks": 5}, "settings", "attention", "few devices"),
        ({"ledger": None}, "ledger", "attention", "no ledger is set"),
        ({"ledger": "/proc/version"}, "ledger", "fault", "cannot be used"),
        ({"master_key": None}, "master_key", "attention", "no ownership"),
        ({"master_key": "short"}, "master_key", "fault", "not usable"),
        ({"ek_certificate_roots": ["/nowhere"]}, "roots", "fault", "cannot be used"),
        ({"id_scope": None}, "id_scope", "attention", "no ID scope"),
        ({"stdout_callback": "default", "units": 200}, "output", "attention", "is not seen"),
        ({"stdout_callback": "community.general.yaml", "units": 20}, "output", "attention", "is not seen"),
        ({"collection": "/nowhere"}, "collection", "fault", "no version"),
        ({"connection_string": None}, "dps", "attention", "no DPS is set"),
        ({"connection_string": "HostName="}, "dps", "fault", "cannot be used"),
    ],
)
def test_what_is_wrong_on_the_station_is_one_finding(look, changes, check, verdict, words):
    found = look(**changes)
    assert set(found) == {check}
    assert found[check]["verdict"] == verdict and words in found[check]["cause"] + found[check]["detail"]


def test_a_wrong_key_is_refused_and_not_shown(dps, look):
    found = look(connection_string=with_parts(dps, SharedAccessKey="d3Jvbmc="))
    assert set(found) == {"rights"} and found["rights"]["verdict"] == "fault"
    assert "d3Jvbmc=" not in str(look.all)


def test_403_is_a_refusal_too(dps, look):
    dps.fault(path="^/", status=403, count=10)
    assert look()["rights"]["verdict"] == "fault"


@pytest.mark.parametrize("right", ["EnrollmentRead", "RegistrationStatusRead", "EnrollmentWrite"])
def test_a_right_that_is_there_or_lacks_is_told_by_name(dps, look, right):
    every = {"EnrollmentRead", "RegistrationStatusRead", "EnrollmentWrite"}
    found = look(connection_string=with_rights(dps, right))["rights"]
    assert found["verdict"] == "attention" and found["detail"] == f"it has {right}"
    assert all(one in found["cause"] for one in every - {right}) and f" {right}" not in found["cause"]


def test_a_service_that_is_not_there_or_throttles_is_told_from_one_that_refuses(dps, look):
    found = look(connection_string=with_parts(dps, HostName="localhost:1"))
    assert set(found) == {"dps"} and "cannot be reached" in found["dps"]["cause"]
    dps.fault(path="^/", status=429, retry_after=9, count=10)
    assert set(look()) == {"quota"}


@pytest.mark.parametrize(
    ("off", "verdict"),
    [(0, "ok"), (59, "ok"), (90, "attention"), (-90, "attention"), (400, "fault"), (-86400, "fault")],
)
def test_the_clock_is_held_against_the_services(off, verdict):
    class Service:
        date = email.utils.formatdate(time.time() - off, usegmt=True)

    (found,) = station._clock(Service())
    assert found["verdict"] == verdict
    assert verdict == "ok" or ("ahead" if off > 0 else "behind") in found["detail"]


@pytest.mark.parametrize("date", ["yesterday", "Thu, 99 Nov 2026 99:99:99 GMT", "\x1b[2J"])
def test_a_date_that_is_none_is_unknown(date):
    service = type("Service", (), {"date": date})()
    assert [one["verdict"] for one in station._clock(service)] == ["unknown"]


def test_a_proxy_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert station.proxy("outside.example") == "proxy.example:3128"
    assert station.proxy("inside.example") == ""


@pytest.mark.parametrize(
    "given",
    [
        ("tpmfleet.azure_dps.line", 1000),
        ("default", 19),
        ("awx_display", 1000),
        ("community.general.jsonl", 1000),
        (None, 9),
    ],
)
def test_an_output_that_fits_is_left_alone(look, given):
    callback, units = given
    assert look(stdout_callback=callback, units=units) == {}
    assert ("output" in look.all) == (callback is not None)


def installed_at(place, name, version, sources=False):
    directory = place / "ansible_collections" / "tpmfleet" / name
    directory.mkdir(parents=True)
    if sources:
        (directory / "galaxy.yml").write_text(f"namespace: tpmfleet\nversion: {version}\n")
    else:
        (directory / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": version}}))
    return directory


def test_another_copy_of_the_collection_and_a_lab_of_another_version_are_told(look, tmp_path):
    used = installed_at(tmp_path / "a", "azure_dps", "1.0.0")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    places = [str(tmp_path / one) for one in ("a", "linked", "nothing", "b/ansible_collections")]
    [found] = installed.collection(str(used), places)
    assert found["verdict"] == "ok" and found["detail"] == f"1.0.0 in {used}"
    other = installed_at(tmp_path / "b", "azure_dps", "0.9.1", sources=True)
    [found] = installed.collection(str(used), places)
    assert found["verdict"] == "attention" and f"0.9.1 in {other}" in found["detail"]
    shutil.rmtree(other)
    lab = installed_at(tmp_path / "b", "azure_dps_lab", "0.9.2")
    well, found = installed.collection(str(used), places)
    assert well["verdict"] == "ok" and found["verdict"] == "attention"
    assert "the lab" in found["cause"] and "==1.0.0" in found["mend"] and f"0.9.2 in {lab}" in found["detail"]
    # By the module, the copy that these tests run from is another one.
    assert str(COLLECTION) in look(collection=str(used))["collection"]["detail"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"collection_info": []}', '{"collection_info": {"version": 1}}'])
def test_a_manifest_that_is_none_says_no_version_or_the_one_that_it_says(tmp_path, content):
    (tmp_path / "MANIFEST.json").write_text(content)
    assert installed.version_of(str(tmp_path)) in (None, "1")
    (tmp_path / "galaxy.yml").write_text("version: '2.0.0'\n")
    assert installed.version_of(str(tmp_path)) in ("2.0.0", "1")


def test_the_id_scope_is_held_against_azures(look, azure, run_module):
    def read(**options):
        return run_module("dps_instance_info", **azure.options(**{"instance": azure.where["instance"], **options}))

    own = read()
    [instance] = own["instances"]
    assert look(id_scope=instance["id_scope"], instance_read=own) == {}
    assert look.all["id_scope"]["cause"] == "the ID scope is the service's"
    found = look(id_scope="0neFFFFFFFF", instance_read=own)["id_scope"]
    assert found["verdict"] == "fault" and instance["id_scope"] in found["detail"] and "0neFFFFFFFF" in found["detail"]
    elsewhere = {"instances": [{**instance, "service_host": "other.azure-devices-provisioning.net"}]}
    for of_another in (elsewhere, read(instance="nothing-of-that-name")):
        found = look(id_scope=instance["id_scope"], instance_read=of_another)["id_scope"]
        assert found["verdict"] == "attention" and "another service" in found["cause"]
    refused = read(resource_group="nowhere")
    found = look(id_scope=instance["id_scope"], instance_read=refused)["id_scope"]
    assert found["verdict"] == "unknown" and "could not be found" in found["detail"]
    assert look(id_scope=instance["id_scope"], instance_read={"skipped": True, "changed": False}) == {}


@pytest.mark.parametrize(
    ("headers", "verdict", "words"),
    [
        ({}, "ok", "does not tell"),
        ({"x-ms-ratelimit-remaining-tenant-reads": "11999"}, "ok", "x-ms-ratelimit-remaining-tenant-reads: 11999"),
        ({"RateLimit-Remaining": "0"}, "attention", "nothing is left"),
        ({"X-RateLimit-Remaining": "\x1b[2J"}, "ok", "\\x1b"),
        ({"x-ratelimit-limit": "0", "Date": "0"}, "ok", "does not tell"),
    ],
)
def test_what_is_left_of_a_quota_is_what_headers_tell(headers, verdict, words):
    found = station._quota(_quota_left(headers))
    assert found["verdict"] == verdict and words in found["cause"] + found["detail"]
