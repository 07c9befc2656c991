# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TPM2_Clear: of the one TPM that was named, with a lockout authorization that is proven, and of no other."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import (
    CLAIMED_DICTIONARY_ATTACK,
    Wish,
)

OWNER = "owner-authorization-of-32-bytes."
LOCKOUT = "lockout-authorization-32-bytes.."
AUTHS = {"owner_auth": OWNER.encode(), "lockout_auth": LOCKOUT.encode()}
CLAIM = Wish(state="claimed", dictionary_attack=CLAIMED_DICTIONARY_ATTACK, **AUTHS)
NO_OWNER = {"owner": "none", "endorsement": "none", "lockout": "none"}


@pytest.fixture
def clear(chip, own):
    """The wish to clear *chip*, by its name."""
    found = own(chip, Wish(state="released"), check_mode=True)["endorsement_key"]["sha256"]
    return Wish(state="cleared", clear_confirmation=found.upper(), **AUTHS)


def storage_root_key(tools, tmp_path):
    """The storage root key that the TPM makes now; of another storage seed it is another."""
    tools("tpm2_createprimary", "-C", "o", "-c", tmp_path / "srk.ctx")
    tools("tpm2_readpublic", "-c", tmp_path / "srk.ctx", "-n", tmp_path / "name")
    tools("tpm2_flushcontext", "-t")
    return (tmp_path / "name").read_bytes()


def test_a_clear(chip, tools, own, clear, tmp_path):
    as_new = tools.state()
    before = storage_root_key(tools, tmp_path)
    claimed = own(chip, CLAIM)
    tools("tpm2_nvdefine", "0x1800001", "-C", "o", "-P", OWNER, "-s", "8")
    planned = own(chip, clear, check_mode=True)
    assert tools.capability("handles-persistent") == "- 0x81000001\n- 0x81010001\n"
    result = own(chip, clear)
    assert result == planned
    assert (result["actions"], result["authorizations"]) == (["clear the TPM"], NO_OWNER)
    assert result["storage_root_key"] is None
    assert tools.state() == as_new
    assert storage_root_key(tools, tmp_path) != before
    # The identity that the service knows stays.
    assert result["endorsement_key"] == {**claimed["endorsement_key"], "handle": None, "persisted": False} | {
        "source": "template"
    }
    assert own(chip, clear)["changed"] is False
    assert own(chip, CLAIM)["changed"]


@pytest.mark.parametrize("confirmation", [None, "", "00" * 32, "yes"])
def test_only_the_tpm_that_was_named_is_cleared(chip, tools, own, clear, confirmation):
    own(chip, CLAIM)
    before = tools.state()
    with pytest.raises(TpmError, match="clear_confirmation does not name this TPM.*nothing was changed"):
        own(chip, clear._replace(clear_confirmation=confirmation))
    assert tools.state() == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lockout_auth": None}, "No lockout_auth was given"),
        ({"owner_auth": None}, "owner authorization is not the given one.*clearing it would be a guess"),
        ({"owner_auth": b"wrong"}, "owner authorization is not the given one.*clearing it would be a guess"),
    ],
)
def test_a_lockout_authorization_that_nothing_proves_clears_only_if_trusted(chip, tools, own, clear, given, words):
    own(chip, CLAIM)
    before = tools.state()
    with pytest.raises(TpmError, match=words):
        own(chip, clear._replace(**given))
    assert tools.state() == before
    # It was not tried, or the hierarchy would be disabled now.
    assert own(chip, clear._replace(**{"owner_auth": None, "lockout_auth_trusted": True}))["changed"]


def test_a_trusted_lockout_authorization_that_is_wrong_clears_nothing(chip, tools, own, clear):
    own(chip, CLAIM)
    before = tools.state()
    with pytest.raises(TpmError, match="lockout_auth is not the lockout authorization.*for 1 day"):
        own(chip, clear._replace(owner_auth=None, lockout_auth=b"wrong", lockout_auth_trusted=True))
    assert tools.state() == before


def test_a_strangers_tpm_without_lockout_authorization_is_cleared_by_name(chip, tools, own, clear):
    tools("tpm2_changeauth", "-c", "owner", "a-stranger's")
    assert own(chip, clear._replace(owner_auth=None, lockout_auth=None))["authorizations"] == NO_OWNER
    assert "ownerAuthSet:              0" in tools.capability("properties-variable")


def test_a_recorded_key_version_proves_it_too(chip, tools, own, clear):
    own(chip, CLAIM._replace(owner_auth=None, key_version=4))
    with pytest.raises(TpmError, match="clearing it would be a guess"):
        own(chip, clear._replace(owner_auth=None, key_version=5))
    assert own(chip, clear._replace(owner_auth=None, key_version=4))["recorded_key_version"] is None


def test_a_clear_ends_a_lockout(chip, tools, own, clear, tmp_path):
    own(chip, CLAIM._replace(dictionary_attack={**CLAIMED_DICTIONARY_ATTACK, "max_tries": 3}))
    tools.lock_out(tmp_path)
    with pytest.raises(TpmError, match="in dictionary attack lockout"):
        own(chip, CLAIM)
    planned = own(chip, clear, check_mode=True)
    assert own(chip, clear) == planned
    assert planned["in_lockout"] is False
    assert "inLockout:                 0" in tools.capability("properties-variable")
    assert own(chip, CLAIM)["changed"]


def test_a_clear_that_the_platform_disabled_is_told_in_check_mode_too(chip, tools, own, clear):
    own(chip, CLAIM)
    tools("tpm2_clearcontrol", "-C", "l", "-P", LOCKOUT, "s")
    before = tools.state()
    for check_mode in (True, False):
        with pytest.raises(TpmError, match="TPM2_Clear is disabled.*firmware setup"):
            own(chip, clear, check_mode=check_mode)
    assert tools.state() == before
