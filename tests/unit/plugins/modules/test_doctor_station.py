# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module doctor_station over the emulated service: each fault is a finding, and nothing is changed."""

from __future__ import annotations

import base64
import email.utils
import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.doctor import station
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened

KEY = base64.b64encode(bytes(range(48))).decode()
FITTING = {"forks": 50, "facts_as_variables": False, "master_key": KEY}


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
    assert set(look.all) == {"libraries", "settings", "ledger", "master_key", "roots", "dps", "rights", "clock"}
    assert "no ledger yet" in look.all["ledger"]["cause"] and not (tmp_path / "ledger.sqlite").exists()
    assert dps.calls() == {"enrollment.get": 1, "registration.get": 1, "enrollment.delete": 1}
    with opened(str(tmp_path / "ledger.sqlite"), Access.WRITE):
        pass
    before = (tmp_path / "ledger.sqlite").read_bytes()
    assert look() == {} and "can be read" in look.all["ledger"]["cause"]
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


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
