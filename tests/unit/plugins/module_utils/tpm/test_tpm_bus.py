# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a probe between the host and the TPM reads: every byte of every command, and no authorization among them."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import (
    CLAIMED_DICTIONARY_ATTACK,
    Wish,
)

FIRST = {one + "_auth": f"{one}-authorization-one".encode() for one in ("owner", "endorsement", "lockout")}
SECOND = {one + "_auth": f"{one}-authorization-two".encode() for one in ("owner", "endorsement", "lockout")}
PREVIOUS = {f"previous_{name}": auth for name, auth in FIRST.items()}
CLAIM = Wish(state="claimed", dictionary_attack=CLAIMED_DICTIONARY_ATTACK, **FIRST)
ROTATION = CLAIM._replace(state="rotated", **SECOND, **PREVIOUS)


@pytest.fixture
def bus(chip, tmp_path, monkeypatch):
    """A probe on the bus to *chip*: ``bus.tcti`` goes through it, ``bus.seen()`` is every byte since the last call."""

    class Bus:
        tcti = f"pcap:{chip.tcti}"

        def __init__(self):
            self._count = 0
            self._begin()

        def _begin(self):
            self._count += 1
            self._recording = tmp_path / f"bus{self._count}.pcap"
            monkeypatch.setenv("TCTI_PCAP_FILE", str(self._recording))

        def seen(self):
            seen = self._recording.read_bytes()
            self._begin()
            return seen

    return Bus()


def assert_unread(seen):
    """No authorization, nor the beginning of one, is in *seen*, which is truly a recording."""
    # A salted session begins with this command, and sends what it encrypted for the endorsement key.
    assert (0x176).to_bytes(4, "big") in seen
    for auth in (*FIRST.values(), *SECOND.values()):
        assert auth not in seen
        assert auth[:12] not in seen


def test_the_probe_reads_what_is_sent_in_the_clear(chip, bus):
    subprocess.run(["tpm2_changeauth", "-T", bus.tcti, "-c", "owner", "owner-authorization-one"], check=True)
    assert FIRST["owner_auth"] in bus.seen()


def test_no_authorization_is_read_on_the_bus(chip, bus, own):
    name = own(chip, CLAIM, check_mode=True)["endorsement_key"]["sha256"]
    for wish, actions in (
        (CLAIM, 6),
        (CLAIM, 0),
        (ROTATION, 4),
        (ROTATION, 0),
        (CLAIM._replace(**SECOND, state="released", remove_persistent_keys=True), 5),
        (CLAIM, 5),
        (Wish(state="cleared", clear_confirmation=name, **FIRST), 1),
    ):
        assert len(own(chip, wish, tcti=bus.tcti)["actions"]) == actions, wish.state
        assert_unread(bus.seen())


def test_none_is_read_where_the_endorsement_key_has_to_be_made_either(chip, bus, own, tools):
    own(chip, CLAIM)
    for wish in (CLAIM, ROTATION):
        tools("tpm2_evictcontrol", "-C", "o", "-P", wish.known_auths("owner").popitem()[1].decode(), "-c", "0x81010001")
        assert "persist the endorsement key at 0x81010001" in own(chip, wish, tcti=bus.tcti)["actions"]
        assert_unread(bus.seen())


def test_a_record_of_the_key_version_needs_no_authorization_on_the_bus(chip, bus, own):
    before = CLAIM._replace(owner_auth=None, endorsement_auth=None, key_version=1)
    after = ROTATION._replace(
        owner_auth=None,
        endorsement_auth=None,
        previous_owner_auth=None,
        previous_endorsement_auth=None,
        key_version=2,
        previous_key_version=1,
    )
    for wish in (before, after, after):
        own(chip, wish, tcti=bus.tcti)
        assert_unread(bus.seen())
