# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a message that names what explains it; tests/house holds messages and page to each other."""

from __future__ import annotations

import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import (
    ENTRIES,
    end_of,
    entry_of,
    explain,
    explained,
    parted,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.errors_page import PATH, explanation, sections

OWNED = "rack1-slot03: This TPM has an owner: lockout authorization is set. Nothing was changed."


def test_a_message_gets_its_end_once():
    told = f"{OWNED} (errors.md#tpm-owned)"
    assert explained(OWNED) == told == explained(told)
    assert parted(told) == (OWNED, "tpm-owned") and parted(OWNED) == (OWNED, "")
    assert explained("Nobody knows this one.") == "Nobody knows this one." and end_of("") == ""


@pytest.mark.parametrize(
    "said", ["(errors.md#no-such-entry)", "(errors.md#TPM-OWNED)", "(errors.md#tpm-owned) ", "errors.md#"]
)
def test_an_end_that_names_no_entry_is_no_end(said):
    assert parted(f"It is so {said}") == (f"It is so {said}", "")


def test_only_what_failed_is_explained():
    assert explain({"failed": True, "msg": OWNED})["msg"].endswith("(errors.md#tpm-owned)")
    for result in ({"msg": OWNED}, {"failed": False, "msg": OWNED}, {"failed": True}, {"failed": True, "msg": [OWNED]}):
        assert explain(dict(result)) == result


@pytest.mark.parametrize(
    "filler", ["certificate ", "a", "The ledger ", "Could not ", ": ", "is ", "\n", "its endorsement key "]
)
def test_a_message_of_any_length_is_looked_up_quickly(filler):
    said = filler * (1_000_000 // len(filler))
    begin = time.process_time()
    entry_of(said)
    explained(said)
    assert time.process_time() - begin < 2


def test_an_explanation_is_what_the_page_says_without_its_marks():
    lines = explanation("tpm-lockout")
    assert lines[0] == "tpm-lockout" and lines[2].startswith("    ") and "is in dictionary attack lockout" in lines[2]
    assert any(line.startswith("Do: ") for line in lines) and any(line.startswith("Units: ") for line in lines)
    assert "when something is wrong (ownership.md#when-something-is-wrong)." in " ".join(lines)
    assert not any(mark in "".join(lines[3:]) for mark in ("**", "`", "]("))
    assert lines[-1] == f"The page is {PATH}"


@pytest.mark.parametrize(
    "asked", ["errors.md#tpm-owned", "(errors.md#tpm-owned)", f"{OWNED} (errors.md#tpm-owned)", " tpm-owned ,"]
)
def test_an_entry_is_found_as_people_copy_it(asked):
    assert explanation(asked)[0] == "tpm-owned"


def test_several_are_said_one_after_the_other_and_none_is_all():
    lines = explanation("tpm-owned,ledger-cut")
    assert lines[0] == "tpm-owned" and "ledger-cut" in lines
    every = explanation("")
    assert [line.partition(":")[0] for line in every[: len(ENTRIES)]] == list(sections(PATH.read_text()))


def test_what_is_no_entry_is_said_with_what_is_near_and_nothing_moves():
    assert "Is it tpm-lockout" in explanation("tpm-lokout")[0]
    assert "\\x1b" in explanation("\x1b[2J")[0] and "\x1b" not in explanation("\x1b[2J")[0]
