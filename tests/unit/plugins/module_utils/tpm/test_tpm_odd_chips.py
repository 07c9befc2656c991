# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chips that tell too little, or nonsense, and NV indices that not everybody reads: nothing of it turns a unit away."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import read_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.nv import NvReader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import (
    CLAIMED_DICTIONARY_ATTACK,
    Wish,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import (
    read_algorithms,
    read_handles,
    read_properties,
)

CERTIFICATE = 0x01C00002
CLAIM = Wish("claimed", owner_auth=b"owner", lockout_auth=b"lockout", dictionary_attack=CLAIMED_DICTIONARY_ATTACK)
# Every property that is read, but the one without which nobody may change anything.
READ = (
    "FAMILY_INDICATOR",
    "REVISION",
    "YEAR",
    "MANUFACTURER",
    "VENDOR_STRING_1",
    "VENDOR_STRING_2",
    "VENDOR_STRING_3",
    "VENDOR_STRING_4",
    "FIRMWARE_VERSION_1",
    "FIRMWARE_VERSION_2",
    "NV_BUFFER_MAX",
    "LOCKOUT_COUNTER",
    "MAX_AUTH_FAIL",
    "LOCKOUT_INTERVAL",
    "LOCKOUT_RECOVERY",
)


def properties_of(tpm):
    with connect(tpm.tcti) as esys:
        return read_properties(esys)


def look(tpm, **options):
    """(The endorsement key, the indices that could not be read and why) as a module returns them."""
    with connect(tpm.tcti, 30) as esys:
        properties = read_properties(esys)
        nv = NvReader(esys, properties)
        key = read_endorsement_key(esys, properties=properties, nv=nv, **options).as_result()
        return key, nv.unreadable_results()


@pytest.mark.parametrize("value", [None, 0, 0xFFFFFFFF])
def test_properties_that_are_left_out_zero_or_absurd_turn_nobody_away(chip, answers, own, value):
    expected = look(chip)[0]
    answers(chip, properties=dict.fromkeys(READ, value))
    found = properties_of(chip)
    assert (found.family, found.revision, found.year, found.nv_buffer_max) == ("2.0", None, None, 512)
    assert (found.lockout_counter, found.in_lockout) == (0, False)
    assert found.firmware_version == ("65535.65535.65535.65535" if value else "0.0.0.0")
    assert found.max_tries == (value or None)
    assert (found.recovery_time, found.lockout_recovery) == (value, value)
    assert look(chip)[0] == expected
    assert own(chip, CLAIM)["changed"]
    again = own(chip, CLAIM)
    # What is told for good to be another value is set again each time; what is not told is set once.
    assert again["changed"] == (value is not None)
    assert again["endorsement_key"]["certificate_about"] == "this"


@pytest.mark.parametrize("value", [None, 0, 1, 63, 2049, 65535])
def test_a_certificate_is_read_whatever_buffer_the_chip_tells(chip, answers, value):
    expected = look(chip)[0]["certificate"]
    answers(chip, properties={"NV_BUFFER_MAX": value}, nv_reads={"at_most": 300, "cut_to": 200})
    key, unreadable = look(chip)
    assert (key["certificate"], unreadable) == (expected, [])


def test_a_chip_that_does_not_tell_its_authorizations_is_read_and_not_changed(chip, answers, own):
    answers(chip, properties={"PERMANENT": None})
    assert look(chip)[0]["certificate_matches"] is True
    with pytest.raises(TpmError, match="does not tell which authorizations are set.*nothing was changed"):
        own(chip, CLAIM)


def test_lists_come_in_pages_of_any_size(chip, answers):
    def lists():
        with connect(chip.tcti) as esys:
            return read_properties(esys), read_algorithms(esys), read_handles(esys, 0x01000000, 0x01FFFFFF)

    expected = lists()
    answers(chip, page=1)
    assert lists() == expected


def define(tools, directory, attributes, *, index=CERTIFICATE, content=b"\x30\x03\x02\x01\x01", options=()):
    """An index with *content*, which whoever owns the TPM writes."""
    (directory / "content").write_bytes(content)
    tools("tpm2_nvdefine", "-C", "o", "-s", len(content), "-a", f"ownerwrite|{attributes}", *options, f"0x{index:08x}")
    tools("tpm2_nvwrite", "-C", "o", "-i", directory / "content", f"0x{index:08x}")


def reason(tpm):
    """Why the certificate's index cannot be read, which is no reason not to read the key."""
    key, unreadable = look(tpm)
    assert (key["certificate"], key["template"], key["certificate_about"]) == (None, "tcg", None)
    [one] = unreadable
    assert one["handle"] == "0x01c00002"
    return one["reason"]


def test_an_index_that_only_the_owner_reads(uncertified, tool_for, tmp_path, own):
    """As hypervisors define it: read while there is no owner, by the claim that makes one, and by the release."""
    content = b"\x30\x03\x02\x01\x07"
    define(tool_for(uncertified), tmp_path, "ownerread|no_da", content=content)
    assert base64.b64decode(look(uncertified)[0]["certificate"]) == content
    claimed = [own(uncertified, CLAIM) for _time in range(2)]
    assert "only the owner authorization reads it" in reason(uncertified)
    released = own(uncertified, CLAIM._replace(state="released", dictionary_attack={}), check_mode=True)
    for result in (*claimed, released):
        assert base64.b64decode(result["endorsement_key"]["certificate"]) == content
        assert result["unreadable"] == []
    assert "LOCKOUT_COUNTER: 0x0" in tool_for(uncertified).capability("properties-variable")


def test_an_index_that_was_never_written(uncertified, tool_for):
    tool_for(uncertified)("tpm2_nvdefine", "-C", "o", "-s", "900", "-a", "ownerwrite|authread", f"0x{CERTIFICATE:08x}")
    assert "never written" in reason(uncertified)


def test_an_index_that_is_locked(uncertified, tool_for, tmp_path):
    tools = tool_for(uncertified)
    define(tools, tmp_path, "ownerread|authread|no_da|read_stclear")
    tools("tpm2_nvreadlock", "-C", "o", f"0x{CERTIFICATE:08x}")
    assert "locked against reading" in reason(uncertified)


def test_an_index_with_an_authorization_of_somebody_else(uncertified, tool_for, tmp_path):
    define(tool_for(uncertified), tmp_path, "authread|no_da", options=("-p", "theirs"))
    assert "an authorization of somebody else's" in reason(uncertified)


def test_no_authorization_is_guessed_that_the_tpm_counts(uncertified, tool_for, tmp_path):
    tools = tool_for(uncertified)
    define(tools, tmp_path, "authread", options=("-p", "theirs"))
    assert "none was tried" in reason(uncertified)
    assert "LOCKOUT_COUNTER: 0x0" in tools.capability("properties-variable")


@pytest.mark.parametrize(
    ("attributes", "words"), [("policyread", "only a policy"), ("ppread", "only the platform's firmware")]
)
def test_an_index_that_is_for_others(uncertified, tool_for, tmp_path, attributes, words):
    define(tool_for(uncertified), tmp_path, attributes)
    assert words in reason(uncertified)


@pytest.mark.parametrize(
    ("code", "words"),
    [("NV_LOCKED", "is locked"), ("NV_RANGE", "not within the NV index"), ("NV_AUTHORIZATION", "belongs to somebody")],
)
def test_what_the_tpm_refuses_is_told_in_its_words(chip, answers, code, words):
    answers(chip, answers=[{"command": "NV_Read", "handle": CERTIFICATE, "code": code}])
    assert words in reason(chip)


def test_an_index_that_is_listed_and_not_there(uncertified, answers):
    answers(uncertified, handles={"add": [CERTIFICATE]})
    assert "nothing at that handle" in reason(uncertified)


def test_a_tpm_that_hangs_is_no_index_that_cannot_be_read(chip, answers):
    answers(chip, delays=[{"command": "NV_Read", "seconds": 5, "times": 1}])
    with pytest.raises(TpmError, match="did not answer within 1 s"), connect(chip.tcti, 1) as esys:
        read_endorsement_key(esys, properties=read_properties(esys))


@pytest.mark.parametrize("code", ["FAILURE", "REBOOT", "MEMORY", "NV_RATE", "RETRY"])
def test_a_tpm_in_trouble_is_no_chip_without_a_certificate(chip, answers, code):
    answers(chip, answers=[{"command": "NV_Read", "code": code}])
    # The library sends a command five times that is to come again: more than a second, where others are at work.
    with pytest.raises(TpmError, match="The TPM could not read NV memory"), connect(chip.tcti, 3) as esys:
        read_endorsement_key(esys, properties=read_properties(esys))


def test_no_certificate_is_read_that_nobody_asked_for(chip, answers):
    answers(chip, answers=[{"command": "NV_Read", "code": "NV_LOCKED"}])
    key, unreadable = look(chip, certificate=False)
    assert (key["certificate"], key["template"], unreadable) == (None, "tcg", [])
