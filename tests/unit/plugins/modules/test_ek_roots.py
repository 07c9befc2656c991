# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules that look at a store of trusted roots and that keep one: their results, in check mode too."""

from __future__ import annotations

import pytest


@pytest.fixture
def source(tpm_maker, write_roots):
    write_roots(tpm_maker.issuer, below="Infineon/IntermediateCA")
    return write_roots(tpm_maker.root, below="Infineon/RootCA")


@pytest.fixture
def fingerprints(run_module, source):
    found = run_module("ek_roots_info", ek_certificate_roots=[source])
    assert (found["changed"], found["unusable"], found["notes"]) == (False, [], [])
    assert [(one["subject"], one["makers"], one["usable"]) for one in found["roots"]] == [
        ("CN=Test Maker Root", ["IFX"], True)
    ]
    assert found["intermediates"][0]["root"] == found["roots"][0]["sha256"]
    return [one["sha256"] for one in found["roots"]]


def test_check_mode_predicts_the_run_and_the_next_run_changes_nothing(run_module, source, fingerprints, tmp_path):
    wanted = {"src": [source], "path": str(tmp_path / "store"), "fingerprints": fingerprints}
    predicted = run_module("ek_roots", **wanted, check=True, diff=True)
    assert not (tmp_path / "store").exists()
    done = run_module("ek_roots", **wanted, diff=True)
    for result in (predicted, done):
        result.pop("invocation", None)
    assert predicted == done and done["changed"] and done["diff"]["before"] == ""
    assert done["diff"]["after"].splitlines() == done["added"] == done["certificates"]
    assert [line.split()[:2] for line in done["certificates"]] == [["intermediate", "IFX"], ["root", "IFX"]]
    again = run_module("ek_roots", **wanted, diff=True)
    assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    assert again["diff"]["before"] == again["diff"]["after"]


def test_a_root_that_goes_is_told(run_module, source, fingerprints, other_maker, write_roots, tmp_path):
    more = write_roots(other_maker.root, directory="more")
    other = run_module("ek_roots_info", ek_certificate_roots=[more])["roots"][0]["sha256"]
    path = str(tmp_path / "store")
    both = run_module("ek_roots", src=[source, more], path=path, fingerprints=[*fingerprints, other])
    assert f"root any {other} CN=Test Maker Root" in both["added"]
    refused = run_module("ek_roots", src=[source, more], path=path, fingerprints=fingerprints)
    assert refused["failed"] and other in refused["msg"] and "Nothing was changed" in refused["msg"]
    one = run_module("ek_roots", src=[source, more], path=path, fingerprints=fingerprints, unpinned="skip")
    assert [line.split()[2] for line in one["removed"] if line.startswith("root")] == [other]
    assert {"subject": "CN=Test Maker Root", "sha256": other} in one["left_out"]
    assert not (tmp_path / "store" / "any").exists()
