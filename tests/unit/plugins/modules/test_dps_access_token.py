# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dps_access_token: a file that lets in for a while, with what the policy allows, until it is revoked."""

from __future__ import annotations

import json
import stat

import pytest


@pytest.fixture
def maker(run_module, azure):
    def change(**options):
        options = {"name": "maker", "rights": ["EnrollmentWrite"], **options}
        return run_module("dps_access_policy", **azure.options(**options))

    change()
    return change


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maker.sas"


@pytest.fixture
def token(run_module, azure, maker, path):
    def make(*, check: bool = False, **options):
        given = {"policy": "MAKER", "path": str(path), **options}
        return run_module("dps_access_token", check=check, diff=True, **azure.options(**given))

    return make


def test_a_token_lets_in_until_it_is_revoked(token, maker, path, dps, run_module, make_ek):
    assert token(check=True)["changed"] and not path.exists()
    made = token(valid_seconds=7200)
    assert made["changed"] and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made["host"] == dps.host and made["policy"] == "maker" and 7100 < made["expires_in"] <= 7200
    assert path.read_text().strip() not in json.dumps(made) and "(a secret)" in made["diff"][0]["after"]
    given = {"sas_token": path.read_text(), "ca_file": dps.where["ca_file"]}
    enrolled = run_module("dps_enrollment", **given, registration_id="unit-1", endorsement_key=make_ek(1))
    assert enrolled["action"] == "created"
    listed = run_module("dps_enrollments", **given, enrollments=[{"registration_id": "unit-1"}])
    assert not listed["changed"] and listed["counts"]["unchanged"] == 1
    maker(regenerate=["primary"])
    refused = run_module("dps_enrollment_info", **given, registration_ids=["unit-1"])
    assert refused["failed"] and refused["status"] == 401 and given["sas_token"].strip() not in json.dumps(refused)
    assert token(valid_seconds=7200)["changed"]
    given["sas_token"] = path.read_text()
    assert run_module("dps_enrollment_info", **given, registration_ids=["unit-1"])["enrollments"]
    maker(state="absent")
    assert run_module("dps_enrollment_info", **given, registration_ids=["unit-1"])["status"] == 401


def test_a_good_token_is_kept(token, path):
    token(valid_seconds=7200)
    before = path.read_text()
    kept = token(valid_seconds=7200)
    assert not kept["changed"] and kept["diff"] == [] and path.read_text() == before
    assert not token(check=True)["changed"]
    # Less time is left than a new one has to have, the other key is wanted, the file is open to others, or is spoilt.
    assert token(valid_seconds=86400, renew_seconds=7300)["changed"]
    assert token(key="secondary")["changed"]
    path.chmod(0o644)
    assert token(key="secondary")["changed"] and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("SharedAccessSignature sr=other&sig=a&se=1&skn=b")
    assert token(key="secondary")["changed"] and not token(key="secondary")["changed"]


def test_a_token_that_ended_or_is_for_another_host_is_told_by_the_modules(token, path, dps, run_module):
    token()
    good = path.read_text().strip()
    expired = good.replace("&se=1", "&se=1", 1).split("&se=")[0] + "&se=1000000000&skn=maker"
    refused = run_module(
        "dps_enrollment_info", sas_token=expired, ca_file=dps.where["ca_file"], registration_ids=["unit-1"]
    )
    assert refused["failed"] and "expired at 2001-09-09" in refused["msg"] and "new one" in refused["hint"]
    elsewhere = good.replace("sr=localhost", "sr=other.azure-devices-provisioning.net")
    refused = run_module(
        "dps_enrollment_info", sas_token=elsewhere, host=dps.host, ca_file=dps.where["ca_file"], registration_ids=["a"]
    )
    assert refused["failed"] and "token is for another service" in refused["msg"] and "for this host" in refused["hint"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": "nobody"}, "There is no access policy nobody"),
        ({"instance": "nowhere"}, "There is no DPS instance nowhere"),
        ({"valid_seconds": 59}, "it goes from 60"),
        ({"valid_seconds": 600}, "renew_seconds has to be less"),
        ({"path": "/nowhere/maker.sas"}, "The directory /nowhere is not there"),
        ({"path": "/"}, "no regular file"),
    ],
)
def test_what_goes_wrong_is_told(token, options, told):
    refused = token(**options)
    assert refused["failed"] and told in refused["msg"], refused
