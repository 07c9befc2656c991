# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Authorizations come out of the master key as they did when the TPM was claimed, and a poor key is refused unseen."""

from __future__ import annotations

import hashlib
import hmac
import re
import traceback
from base64 import urlsafe_b64encode

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.tpmfleet.azure_dps.plugins.filter.hierarchy_auth import hierarchy_auth
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import master_key_check

MASTER_KEY = "Zq3v8yBEHMcQfTjWnZr4u7xADGKaPdSgVkYp2s5v8y0="
EK_NAME = "000b" + bytes(range(32)).hex()

# Made with HMAC alone. A change of any of these locks every TPM out that was claimed before it.
GOLDEN = {
    ("owner", 1): "nO5f-E58uIXkPYDc1WmWKfWo1s6LiBIb",
    ("owner", 2): "Fr186jpWNwVeFH2kBlw7L4so-KcEPTJd",
    ("endorsement", 1): "sW216OGSP8BwnQ2tvH_ALhzGMLZBfQBz",
    ("endorsement", 2): "-xo4z-S7GQejKKWViKMTEGqiTh9yFn4T",
    ("lockout", 1): "h92lUbdwcz8hqvopMVc6CmAYW9jmGVek",
    ("lockout", 2): "P_alGFRZ7grnpLsnEbmksWHUD3Svnupk",
}


def auth(master_key=MASTER_KEY, ek_name=EK_NAME, hierarchy="owner", version=1):
    return hierarchy_auth(master_key, ek_name=ek_name, hierarchy=hierarchy, version=version)


@pytest.mark.parametrize("hierarchy, version", GOLDEN)
def test_an_authorization_is_what_it_always_was(hierarchy, version):
    assert auth(hierarchy=hierarchy, version=version) == GOLDEN[hierarchy, version]


def test_it_is_hkdf_as_the_rfc_has_it():
    parts = (b"hierarchy auth 1", b"owner", (7).to_bytes(4, "big"), bytes.fromhex(EK_NAME))
    info = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    extracted = hmac.new(b"tpmfleet.azure_dps", MASTER_KEY.encode(), hashlib.sha256).digest()
    expanded = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()[:24]
    assert auth(version=7) == urlsafe_b64encode(expanded).decode()


def test_a_key_is_told_from_another_one_by_what_ledgers_have_noted():
    """Also a later release's: a check that came to be another one would refuse every order that was written before."""
    info = len(b"master key check 1").to_bytes(2, "big") + b"master key check 1"
    extracted = hmac.new(b"tpmfleet.azure_dps", MASTER_KEY.encode(), hashlib.sha256).digest()
    expanded = hmac.new(extracted, info + b"\x01", hashlib.sha256).hexdigest()
    assert master_key_check(f"{MASTER_KEY}\n") == expanded[:8] != master_key_check(MASTER_KEY.swapcase())


def test_every_tpm_takes_it():
    for version in range(1, 200):
        assert re.fullmatch(r"[A-Za-z0-9_-]{32}", auth(version=version))


def test_every_hierarchy_version_and_tpm_has_its_own():
    names = [EK_NAME, "000b" + hashlib.sha256(b"another").hexdigest(), "000c" + hashlib.sha384(b"").hexdigest()]
    made = {auth(ek_name=n, hierarchy=h, version=v) for n in names for h in ("owner", "lockout") for v in (1, 2, 256)}
    assert len(made) == 18


def test_how_the_name_is_written_and_a_files_last_line_end_do_not_matter():
    assert auth(ek_name=EK_NAME.upper()) == auth()
    assert auth(master_key=f"{MASTER_KEY}\n") == auth()


@pytest.mark.parametrize(
    "master_key, says",
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("correct horse battery staple 12", "31 characters, 32 is the least"),
        ("xyxyxyzz" * 8, "3 different characters"),
        ("$ANSIBLE_VAULT;1.1;AES256\n3061626364656667686970717273747576777879", "still encrypted"),
        (None, "no text but a NoneType"),
        (20261031, "no text but a int"),
    ],
)
def test_a_poor_master_key_is_refused_and_not_shown(master_key, says):
    with pytest.raises(AnsibleFilterError, match=says) as refused:
        auth(master_key=master_key)
    if isinstance(master_key, str) and master_key.strip():
        shown = "".join(traceback.format_exception(refused.value))
        assert master_key not in shown
        assert master_key[:12] not in shown or master_key.startswith("$ANSIBLE_VAULT")


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"hierarchy": "platform"}, "no hierarchy 'platform'"),
        ({"version": 0}, "the key version is 0"),
        ({"version": 2**32}, "the key version is"),
        ({"version": "1"}, "the key version is '1'"),
        ({"version": True}, "the key version is True"),
        ({"ek_name": ""}, "ek_name is not the name"),
        ({"ek_name": "00ab"}, "ek_name is not the name"),
        ({"ek_name": None}, "give either endorsement_key or ek_name"),
    ],
)
def test_what_an_authorization_cannot_be_for_is_refused(wrong, says):
    with pytest.raises(AnsibleFilterError, match=says):
        auth(**wrong)


def test_a_master_key_given_in_the_names_place_is_not_shown():
    with pytest.raises(AnsibleFilterError) as refused:
        auth(ek_name=MASTER_KEY)
    assert MASTER_KEY not in str(refused.value)
