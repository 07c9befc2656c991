# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rotation against a TPM whose power goes after every single command: what is set is known, and no guess is made."""

from __future__ import annotations

import itertools
import shutil

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import connection
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership import bring_about
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import (
    CLAIMED_DICTIONARY_ATTACK,
    Wish,
)
from tpm_rack.software_tpm import SoftwareTpm

RECORD = "0x180df50"


def auths(version, *hierarchies):
    """Authorizations of a key version."""
    return {f"{one}_auth": f"{one}-authorization-version-{version}".encode()[-32:] for one in hierarchies}


def text(version, hierarchy):
    """One of them, for tpm2-tools."""
    return auths(version, hierarchy)[f"{hierarchy}_auth"].decode()


def claim(version, *hierarchies):
    """A claim with a key version."""
    return Wish(
        state="claimed",
        key_version=version,
        dictionary_attack=CLAIMED_DICTIONARY_ATTACK,
        **auths(version, *hierarchies),
    )


def rotation(previous, version, *hierarchies):
    """From one key version to another."""
    before = {f"previous_{name}": auth for name, auth in auths(previous, *hierarchies).items()}
    return claim(version, *hierarchies)._replace(state="rotated", previous_key_version=previous, **before)


FLEET = ("owner", "lockout")
SDK = ("lockout",)
ALL = ("owner", "endorsement", "lockout")
PROFILES = pytest.mark.parametrize("hierarchies", [FLEET, SDK, ALL], ids=["fleet", "sdk", "all"])


# The power goes


class PowerCut(BaseException):
    """Not an error that anything could handle."""


@pytest.fixture
def cut(monkeypatch):
    """Has the power go after so many calls of the TPM software stack; tells how many there were."""

    class Cut:
        left = None
        calls = 0

    whole = connection.Esys._in_thread

    def in_thread(self, doing, function, timeout=None):
        if Cut.left == 0:
            # What is loaded is lost with the power, and nothing flushes it.
            self._silent = True
            self._calls.put(None)
            raise PowerCut
        Cut.calls += 1
        Cut.left = None if Cut.left is None else Cut.left - 1
        return whole(self, doing, function, timeout)

    monkeypatch.setattr(connection.Esys, "_in_thread", in_thread)
    return Cut


@pytest.fixture
def copies(tmp_path):
    """Copies of a TPM that is off, running, which end with the test."""
    made = []

    def copy(state):
        directory = tmp_path / f"copy{len(made)}" / "tpm"
        shutil.copytree(state, directory)
        tpm = SoftwareTpm(directory)
        made.append(tpm)
        tpm.start()
        return tpm

    yield copy
    for tpm in made:
        tpm.stop()


@pytest.fixture
def known(tmp_path):
    """The key version of each hierarchy, as a person finds out with tpm2-tools without a guess; None for no auth."""

    def find_out(tools, hierarchies):
        state = tools.capability("properties-variable")
        assert "inLockout:                 0" in state
        assert "TPM2_PT_LOCKOUT_COUNTER: 0x0" in state
        versions = {}
        for one in hierarchies[:-1]:
            (versions[one],) = [version for version in (1, 2) if tools.tries(one, text(version, one))]
        witness = versions.get("owner")
        if witness is None:
            tools("tpm2_nvread", RECORD, "-s", "4", "--offset", "4", "-o", tmp_path / "record")
            witness = int.from_bytes((tmp_path / "record").read_bytes(), "big")
            versions["record"] = witness
        if "lockoutAuthSet:            1" in state:
            # If the witness lied, this would be the wrong try that disables the hierarchy.
            tools.opens("lockout", text(witness, "lockout"))
            versions["lockout"] = witness
        else:
            versions["lockout"] = None
        return versions

    return find_out


# The witness and the endorsement hierarchy's version first, the lockout hierarchy's last. The way of the fleet's own
# profile is that of all hierarchies without the endorsement hierarchy.
WAY = {
    SDK: [(1, 1), (1, None), (2, None), (2, 2)],
    ALL: [(1, 1, 1), (1, 2, 1), (1, 2, None), (2, 2, None), (2, 2, 2)],
}


@pytest.mark.parametrize("hierarchies", WAY, ids=["sdk", "all"])
def test_a_rotation_cut_off_after_any_command_is_known_and_completed(
    chip, copies, cut, known, own, tool_for, hierarchies
):
    own(chip, claim(1, *hierarchies))
    chip.stop()
    wish = rotation(1, 2, *hierarchies)
    seen = []
    for count in itertools.count():
        tpm = copies(chip.state_dir)
        tools = tool_for(tpm)
        cut.left = count
        try:
            own(tpm, wish)
            completed = True
        except PowerCut:
            completed = False
        cut.left = None
        tpm.power_cycle()
        seen.append(tuple(known(tools, hierarchies).values()))
        # The next run, first as a plan.
        planned = own(tpm, wish, check_mode=True)
        result = own(tpm, wish)
        assert result == planned
        assert result["changed"] is (seen[-1] != WAY[hierarchies][-1]), count
        assert result["authorizations"] == {one: "given" if one in hierarchies else "none" for one in ALL}
        assert set(known(tools, hierarchies).values()) == {2}
        tpm.stop()
        shutil.rmtree(tpm.state_dir)
        if completed:
            break
    assert cut.calls > count > 20
    assert [state for state, _all in itertools.groupby(seen)] == WAY[hierarchies]


@PROFILES
def test_a_rotation(chip, tools, known, own, hierarchies):
    own(chip, claim(1, *hierarchies))
    wish = rotation(1, 2, *hierarchies)
    before = tools.state()
    planned = own(chip, wish, check_mode=True)
    assert tools.state() == before
    assert planned["diff"]["before"]["lockout_auth"] == "previous"
    assert own(chip, wish) == planned
    assert set(known(tools, hierarchies).values()) == {2}
    for run in (wish, claim(2, *hierarchies)):
        assert own(chip, run)["actions"] == []
    with pytest.raises(TpmError, match="of key version 2, wanted is 1" if hierarchies == SDK else "owner_auth is not"):
        own(chip, claim(1, *hierarchies))
    assert own(chip, rotation(2, 1, *hierarchies))["changed"]
    assert set(known(tools, hierarchies).values()) == {1}


def test_a_rotation_says_what_it_does(chip, own):
    own(chip, claim(1, *ALL))
    assert own(chip, rotation(1, 2, *ALL))["actions"] == [
        "change the endorsement authorization",
        "empty the lockout authorization, to set the new one next",
        "change the owner authorization",
        "set the lockout authorization",
    ]


def test_a_rotation_of_what_is_new_claims_it(chip, own, known, tools):
    assert own(chip, rotation(1, 2, *FLEET))["changed"]
    assert set(known(tools, FLEET).values()) == {2}
    assert own(chip, claim(2, *FLEET))["changed"] is False


def test_a_strangers_tpm_is_not_rotated(chip, tools, own):
    for hierarchy in FLEET:
        tools("tpm2_changeauth", "-c", hierarchy, "a-stranger's")
    before = tools.state()
    with pytest.raises(TpmError, match="neither owner_auth nor previous_owner_auth is.*not tried"):
        own(chip, rotation(1, 2, *FLEET))
    assert tools.state() == before
    for hierarchy in FLEET:
        tools.opens(hierarchy, "a-stranger's")


def test_the_owner_alone_can_change(chip, tools, own):
    own(chip, claim(1, *FLEET))
    wish = rotation(1, 2, "owner")._replace(**auths(1, "lockout"))
    with pytest.raises(TpmError, match="no previous_lockout_auth was given.*the same as lockout_auth"):
        own(chip, wish)
    result = own(chip, wish._replace(previous_lockout_auth=wish.lockout_auth))
    assert result["actions"] == ["change the owner authorization"]
    tools.opens("owner", text(2, "owner"))
    tools.opens("lockout", text(1, "lockout"))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (claim(1, *FLEET)._replace(previous_owner_auth=b"x"), "previous_owner_auth is for state 'rotated' alone"),
        (claim(1, *FLEET)._replace(state="rotated"), "no previous one was given"),
        (rotation(1, 2, *FLEET)._replace(owner_auth=None), "previous_owner_auth was given and no owner_auth"),
        (rotation(2, 2, *FLEET), "are both 2"),
        (rotation(1, 2, *FLEET)._replace(**auths(1, "owner")), "is the same before and after"),
        (rotation(1, 2, *SDK)._replace(key_version=None), "is left out, and so is key_version"),
    ],
)
def test_what_could_not_be_resumed_is_refused_before_the_tpm_is_touched(wish, words):
    with pytest.raises(TpmError, match=words):
        bring_about(None, wish, check_mode=False)


# The record of the key version


def test_the_record_proves_the_lockout_authorization(chip, tools, own):
    wish = claim(3, *SDK)
    assert "record key version 3 at NV index 0x0180df50" in own(chip, wish)["actions"]
    result = own(chip, wish)
    assert (result["changed"], result["authorizations"]["lockout"], result["recorded_key_version"]) == (
        False,
        "given",
        3,
    )
    released = own(chip, wish._replace(state="released", dictionary_attack={}, remove_persistent_keys=True))
    assert "remove the record of the key version" in released["actions"]
    assert "lockoutAuthSet:            0" in tools.capability("properties-variable")
    assert RECORD.removeprefix("0x") not in tools.capability("handles-nv-index").lower()


def test_a_claim_with_an_owner_authorization_takes_over_from_the_record(chip, tools, own, known):
    own(chip, claim(1, *SDK))
    result = own(chip, claim(1, *FLEET))
    assert result["actions"] == ["set the owner authorization", "remove the record of the key version"]
    assert own(chip, rotation(1, 2, *FLEET))["changed"]
    assert set(known(tools, FLEET).values()) == {2}


def test_without_a_record_a_rotation_is_a_guess_and_done_only_if_trusted(chip, tools, own, known):
    own(chip, claim(1, *SDK)._replace(key_version=None))
    wish = rotation(1, 2, *SDK)
    with pytest.raises(TpmError, match="rotating it would be a guess.*lockout_auth_trusted"):
        own(chip, wish)
    trusting = wish._replace(lockout_auth_trusted=True)
    assert own(chip, trusting)["changed"]
    assert set(known(tools, SDK).values()) == {2}
    assert own(chip, trusting)["changed"] is False


def test_a_trusted_previous_authorization_that_is_wrong_changes_nothing_else(chip, tools, own):
    own(chip, claim(1, *SDK)._replace(key_version=None))
    before = tools.state()
    wish = rotation(3, 2, *SDK)._replace(lockout_auth_trusted=True)
    with pytest.raises(TpmError, match="is not the lockout authorization.*for 1 day"):
        own(chip, wish)
    assert tools.state() == before


def test_a_record_of_another_version_is_told(chip, own):
    own(chip, claim(3, *SDK))
    with pytest.raises(TpmError, match="of key version 3, wanted is 2.*previous_key_version 3"):
        own(chip, rotation(1, 2, *SDK))


def test_a_record_whose_write_was_cut_off_tells_no_version(chip, tools, own):
    """Defined and not written: the one moment in which the record is two commands."""
    tools("tpm2_nvdefine", RECORD, "-s", "8", "-a", "ownerwrite|ownerread|authread|no_da")
    result = own(chip, claim(1, *SDK))
    assert "record key version 1 at NV index 0x0180df50" in result["actions"]
    assert own(chip, claim(1, *SDK))["authorizations"]["lockout"] == "given"


@pytest.mark.parametrize("size", [8, 16])
def test_something_else_in_the_records_place_is_left_alone(chip, tools, own, tmp_path, size):
    tools("tpm2_nvdefine", RECORD, "-s", size, "-a", "ownerwrite|ownerread|authread|no_da")
    (tmp_path / "foreign").write_bytes(b"not ours")
    tools("tpm2_nvwrite", "-C", "o", RECORD, "-i", tmp_path / "foreign")
    before = tools.state()
    with pytest.raises(TpmError, match="is no record of a key version; nothing was changed"):
        own(chip, claim(1, *SDK))
    assert tools.state() == before
    # Who does not need the place is not in its way.
    own(chip, claim(1, *FLEET))
    own(chip, claim(1, *FLEET)._replace(state="released"))
    assert RECORD.removeprefix("0x") in tools.capability("handles-nv-index").lower()
