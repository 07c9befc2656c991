# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a TPM's endorsement keys the certificate is about, and what else sits at the handles of the two keys."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.certificates import read_all_certificates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import (
    EndorsementAuthNeededError,
    read_endorsement_key,
    read_persistent_keys,
    with_handles,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.nv import NvReader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import Wish
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties

CERTIFICATE, NONCE, TEMPLATE = 0x01C00002, 0x01C00003, 0x01C00004
ECC_CERTIFICATE, ECC_NONCE, ECC_TEMPLATE, CHAIN = 0x01C0000A, 0x01C0000B, 0x01C0000C, 0x01C00100
SIZES = (("ECC P-256", 32), ("ECC P-384", 48))
CLAIM = Wish("claimed")
USER_WITH_AUTH = 1 << 6
STORAGE = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt"


def look(tpm, **options):
    with connect(tpm.tcti, 30) as esys:
        properties = read_properties(esys)
        nv = NvReader(esys, properties)
        found = read_endorsement_key(esys, properties=properties, nv=nv, **options)
        return {**found.as_result(), "foreign": found.foreign, "unreadable": nv.unreadable_results()}


def wrapped(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def certificate_of(key):
    """As much of a certificate about *key*, a result, as says which key it is about."""
    modulus = b"\x00" + base64.b64decode(key["public"])[-256:]
    return certificate_with(wrapped(0x30, wrapped(0x02, modulus), wrapped(0x02, b"\x01\x00\x01")))


def certificate_with(key):
    """The same about *key*, an RSAPublicKey or a point."""
    public = wrapped(0x30, wrapped(0x30), wrapped(0x03, b"\x00", key))
    return wrapped(0x30, wrapped(0x30, wrapped(0x02, b"\x01"), *[wrapped(0x30)] * 4, public))


@pytest.fixture
def store(uncertified, tool_for, tmp_path):
    """Writes into NV indices as a maker does."""

    def write(index, content, attributes="ownerwrite|ownerread|authread|no_da"):
        tools = tool_for(uncertified)
        (tmp_path / "content").write_bytes(content)
        tools("tpm2_nvdefine", "-C", "o", "-s", len(content), "-a", attributes, f"0x{index:08x}")
        tools("tpm2_nvwrite", "-C", "o", "-i", tmp_path / "content", f"0x{index:08x}")

    return write


def stored_template(attributes=0):
    """A maker's template: that of the TCG with more attributes, as a TPMT_PUBLIC."""
    public = bytearray(templates.ek_public_template()[2:])
    public[4:8] = (int.from_bytes(public[4:8], "big") | attributes).to_bytes(4, "big")
    return bytes(public)


MAKERS = {
    "a nonce": {NONCE: b"nonce-of-the-maker"},
    "a template": {TEMPLATE: stored_template(USER_WITH_AUTH)},
    "both": {NONCE: b"n" * 32, TEMPLATE: stored_template(USER_WITH_AUTH)},
}


@pytest.mark.parametrize("left", MAKERS)
def test_the_key_of_nonce_and_template_is_read_persisted_and_recognised(uncertified, store, own, left):
    plain = look(uncertified)
    for index, content in MAKERS[left].items():
        store(index, content)
    makers = look(uncertified, template="nv")
    assert (makers["template"], makers["public"] == plain["public"]) == ("nv", False)
    store(CERTIFICATE, certificate_of(makers))
    key = look(uncertified, template="tcg")
    assert (key["public"], key["template"], key["certificate_about"]) == (makers["public"], "nv", "this")
    claimed = own(uncertified, CLAIM._replace(endorsement_key_sha256=key["sha256"]))["endorsement_key"]
    assert (claimed["public"], claimed["persisted"]) == (makers["public"], True)
    again = look(uncertified, template="tcg")
    assert (again["public"], again["template"], again["source"]) == (makers["public"], "nv", "persistent")
    assert own(uncertified, CLAIM)["changed"] is False


@pytest.mark.parametrize("left", MAKERS)
def test_what_only_the_owner_reads_shuts_nobody_out_of_a_later_step(uncertified, store, own, left):
    """The claim itself shuts nonce, template and certificate: the persisted key is taken as it is from then on."""
    for index, content in MAKERS[left].items():
        store(index, content, "ownerwrite|ownerread|no_da")
    key = look(uncertified, template="tcg")
    assert key["template"] == "nv"
    store(CERTIFICATE, certificate_of(key), "ownerwrite|ownerread|no_da")
    store(CHAIN, wrapped(0x30, b"\x05\x00"), "ownerwrite|ownerread|no_da")
    owned = CLAIM._replace(owner_auth=b"owner")
    claimed = own(uncertified, owned._replace(endorsement_key_sha256=key["sha256"]))
    assert claimed["endorsement_key"]["public"] == key["public"]
    again = look(uncertified, template="tcg")
    assert (again["public"], again["template"]) == (key["public"], "other")
    assert {one["handle"] for one in again["unreadable"]} == {f"0x{one:08x}" for one in (CERTIFICATE, *MAKERS[left])}
    # Who has the authorization reads them all, and knows the key by them.
    for wish in (owned, owned._replace(state="released")):
        found = own(uncertified, wish, check_mode=True)
        known = found["endorsement_key"]
        assert (known["template"], known["certificate_about"], found["unreadable"]) == ("nv", "this", [])
        assert [base64.b64decode(one["certificate"]) for one in found["certificates"]] == [wrapped(0x30, b"\x05\x00")]


def test_a_chain_that_anybody_reads_is_not_read_by_the_owner(uncertified, store, own):
    store(CHAIN, wrapped(0x30, b"\x05\x00"))
    assert own(uncertified, CLAIM._replace(owner_auth=b"owner"))["certificates"] == []


def signing_template():
    """As swtpm_setup leaves one with --allow-signing."""
    public = bytearray(templates.ek_public_template()[2:])
    public[4:8] = (0x000600B2).to_bytes(4, "big")
    at = 10 + 32
    return bytes(public[:at]) + b"\x00\x10" + bytes(public[at + 6 :])


def test_a_certificate_about_the_key_of_a_template_that_no_client_can_use_is_told_so(
    uncertified, store, tool_for, tmp_path
):
    store(TEMPLATE, signing_template())
    with connect(uncertified.tcti, 30) as esys:
        from tpm2_pytss.constants import ESYS_TR
        from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

        template = templates.as_pytss(templates.stored_public(signing_template()))
        handle, area, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT)
        public = base64.b64encode(bytes(area.marshal())).decode()
        esys.flush_context(handle)
    store(CERTIFICATE, certificate_of({"public": public}))
    key = look(uncertified, template="tcg")
    assert (key["template"], key["certificate_about"]) == ("tcg", "unusable")
    assert [one["handle"] for one in key["unreadable"]] == ["0x01c00004"]


def test_tpm2_tools_make_the_same_key_of_nonce_and_template(uncertified, store, tool_for, tmp_path):
    for index, content in MAKERS["both"].items():
        store(index, content)
    (tmp_path / "policy").write_bytes(templates.EK_POLICY)
    (tmp_path / "unique").write_bytes(b"\x00\x01" + (b"n" * 32).ljust(256, b"\x00"))
    tools = tool_for(uncertified)
    template = ("-C", "e", "-G", "rsa2048:aes128cfb", "-a", STORAGE + "|adminwithpolicy", "-L", tmp_path / "policy")
    tools.put(templates.EK_HANDLE, tmp_path, *template, "-u", tmp_path / "unique")
    key = look(uncertified, template="tcg")
    assert (key["template"], key["source"]) == ("nv", "persistent")


def test_a_nonce_of_which_the_certificate_knows_nothing(uncertified, store):
    """The certificate decides, not the edition of the profile that was meant."""
    plain = look(uncertified)
    store(NONCE, b"nonce")
    assert look(uncertified)["template"] == "nv"
    store(CERTIFICATE, certificate_of(plain))
    key = look(uncertified)
    assert (key["public"], key["template"], key["certificate_about"]) == (plain["public"], "tcg", "this")


@pytest.mark.parametrize("content", [b"\x00\x23" + bytes(80), stored_template()[:60], b""])
def test_a_template_that_no_client_can_use_is_told_and_passed_over(uncertified, store, content):
    plain = look(uncertified)
    store(TEMPLATE, content or bytes(4))
    key = look(uncertified)
    assert (key["public"], key["template"]) == (plain["public"], "tcg")
    assert [one["handle"] for one in key["unreadable"]] == ["0x01c00004"]


def test_there_is_no_key_of_a_nonce_that_is_not_there(uncertified):
    with pytest.raises(TpmError, match="no nonce and no template.*tpmfleet_endorsement_key_template"):
        look(uncertified, template="nv")


def test_the_certificate_of_this_tpm_s_other_key_is_not_called_another_tpm_s(chip, uncertified, store):
    assert look(chip, template="sdk")["certificate_about"] == "tcg"
    store(CERTIFICATE, base64.b64decode(look(chip)["certificate"]))
    assert look(uncertified, template="sdk")["certificate_about"] == "another"
    assert look(uncertified)["certificate_about"] == "another"
    assert look(uncertified, identify=False)["certificate_about"] == "unknown"


def test_a_certificate_of_another_kind_of_key_says_nothing(uncertified, store):
    store(CERTIFICATE, b"\x30\x03\x02\x01\x01")
    assert look(uncertified)["certificate_about"] == "unknown"


def test_high_range_keys_are_listed(uncertified, tool_for, tmp_path):
    tools = tool_for(uncertified)
    for handle, kind in ((0x81010002, "ecc256"), (0x81010016, "ecc384"), (0x8101001C, "rsa3072")):
        tools.put(handle, tmp_path, "-C", "e", "-G", kind)
    with connect(uncertified.tcti, 60) as esys:
        found = read_persistent_keys(esys)
    assert [(one["handle"], one["key"]) for one in found] == [
        ("0x81010002", "ECC P-256"),
        ("0x81010016", "ECC P-384"),
        ("0x8101001c", "RSA-3072"),
    ]
    assert all(len(base64.b64decode(one["public"])) > 60 for one in found)


def test_a_key_certificate_comes_with_its_key_and_with_what_it_was_made_with(uncertified, tool_for, tmp_path, store):
    """By which anybody can make a key that is persisted nowhere."""
    tools = tool_for(uncertified)
    for handle, kind in ((0x8101000A, "ecc256"), (0x81010016, "ecc384"), (0x8101001C, "rsa3072")):
        tools.put(handle, tmp_path, "-C", "e", "-G", kind)
    with connect(uncertified.tcti, 60) as esys:
        publics = {one["key"]: base64.b64decode(one["public"]) for one in read_persistent_keys(esys)}
    curves = {name: b"\x04" + publics[name][-2 * size - 2 : -size - 2] + publics[name][-size:] for name, size in SIZES}
    modulus = wrapped(0x30, wrapped(0x02, b"\x00" + publics["RSA-3072"][-384:]), wrapped(0x02, b"\x01\x00\x01"))
    store(ECC_CERTIFICATE, certificate_with(curves["ECC P-256"]))
    store(ECC_NONCE, b"nonce")
    store(ECC_TEMPLATE, b"\x00\x23template")
    store(0x01C00016, certificate_with(curves["ECC P-384"]))
    store(0x01C00018, certificate_with(curves["ECC P-256"][:-1] + b"\x00"))
    store(0x01C00019, bytes(1025))
    store(0x01C0001C, certificate_with(modulus))
    with connect(uncertified.tcti, 60) as esys:
        nv = NvReader(esys, read_properties(esys))
        found = with_handles(read_all_certificates(nv), read_persistent_keys(esys))
    nonce, template = (base64.b64encode(one).decode() for one in (b"nonce", b"\x00\x23template"))
    assert [[one[name] for name in ("nv_index", "key", "handle", "nonce", "template")] for one in found] == [
        ["0x01c0000a", "ECC P-256", "0x8101000a", nonce, template],
        ["0x01c00016", "ECC P-384", "0x81010016", None, None],
        ["0x01c00018", "ECC P-521", None, None, None],
        ["0x01c0001c", "RSA-3072", "0x8101001c", None, None],
    ]
    assert [one["handle"] for one in nv.unreadable_results()] == ["0x01c00019"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-G", "ecc256:aes128cfb", "-a", STORAGE + "|noda"), "ECC P-256 storage root key; systemd"),
        (("-G", "rsa2048:aes256cfb", "-a", STORAGE + "|noda"), "RSA-2048 storage root key; an operating system"),
        (("-G", "rsa2048"), "RSA-2048 storage key; tpm2-tools make such a one.*clevis"),
        (("-G", "ecc256", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"), "ECC P-256 signing key"),
    ],
)
def test_a_storage_root_key_of_somebody_else_is_told_for_what_it_is(
    uncertified, tool_for, tmp_path, own, options, words
):
    tool_for(uncertified).put(templates.SRK_HANDLE, tmp_path, "-C", "o", *options)
    with pytest.raises(TpmError, match=f"(?s)0x81000001 is no.*{words}.*tpmfleet_replace_persistent_keys"):
        own(uncertified, CLAIM)
    assert own(uncertified, CLAIM._replace(replace_persistent_keys=True))["changed"]
    assert own(uncertified, CLAIM)["changed"] is False


def test_a_key_in_the_place_of_the_endorsement_key_is_passed_over_for_a_claim_to_replace(
    uncertified, tool_for, tmp_path, own
):
    expected = look(uncertified)["public"]
    tool_for(uncertified).put(templates.EK_HANDLE, tmp_path, "-C", "e", "-G", "ecc256:aes128cfb", "-a", STORAGE)
    with pytest.raises(TpmError, match="tpmfleet_replace_persistent_keys"):
        look(uncertified)
    key = look(uncertified, template="tcg", replace_persistent=True)
    assert (key["public"], key["persisted"]) == (expected, False)
    assert "ECC P-256 storage key" in key["foreign"]
    wish = CLAIM._replace(endorsement_key_sha256=key["sha256"], replace_persistent_keys=True)
    assert own(uncertified, wish)["endorsement_key"]["public"] == expected
    assert look(uncertified)["source"] == "persistent"


def test_a_key_of_the_stock_clients_is_replaced_where_that_is_asked_for(uncertified, own):
    own(uncertified, CLAIM._replace(template="sdk"))
    with pytest.raises(TpmError, match="tpmfleet_endorsement_key_template.*tpmfleet_replace_persistent_keys"):
        look(uncertified, template="tcg")
    key = look(uncertified, template="tcg", replace_persistent=True)
    wish = CLAIM._replace(endorsement_key_sha256=key["sha256"], replace_persistent_keys=True)
    assert own(uncertified, wish)["endorsement_key"]["public"] == key["public"]
    assert look(uncertified, template="tcg")["source"] == "persistent"


def test_a_key_that_is_known_needs_no_template(uncertified, own):
    """A line whose units have the stock clients' key claims without saying so again."""
    key = look(uncertified, template="sdk")
    claimed = own(uncertified, CLAIM._replace(endorsement_key_sha256=key["sha256"]))["endorsement_key"]
    assert (claimed["public"], claimed["template"]) == (key["public"], "sdk")
    assert hashlib.sha256(base64.b64decode(claimed["public"])).hexdigest() == key["sha256"]


def test_after_a_claim_with_an_endorsement_authorization_the_key_is_read_without_it(uncertified, own):
    own(uncertified, CLAIM._replace(endorsement_auth=b"secret"))
    key = look(uncertified, template="tcg")
    assert (key["source"], key["template"]) == ("persistent", "other")
    own(uncertified, Wish("released", endorsement_auth=b"secret", remove_persistent_keys=True))
    own(uncertified, CLAIM._replace(endorsement_auth=b"secret"))


def test_an_authorization_that_is_needed_is_asked_for_by_name(uncertified, tool_for):
    tool_for(uncertified)("tpm2_changeauth", "-c", "endorsement", "secret")
    with pytest.raises(EndorsementAuthNeededError, match="tpmfleet_endorsement_auth") as caught:
        look(uncertified, template="tcg")
    assert caught.value.needs == "endorsement_auth"
    assert look(uncertified, template="tcg", endorsement_auth=b"secret")["template"] == "tcg"
