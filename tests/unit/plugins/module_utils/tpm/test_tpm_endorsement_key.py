# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which endorsement key a TPM has, seen against what its maker lists and what tpm2-tools read."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.certificates import read_all_certificates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.endorsement_key import (
    certifies,
    read_endorsement_key,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.nv import NvReader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE


def read(tpm, **options):
    """The endorsement key of *tpm* as a module returns it."""
    with connect(tpm.tcti) as esys:
        return read_endorsement_key(esys, properties=read_properties(esys), **options).as_result()


def persist(tpm, template, hierarchy=ESYS_TR.ENDORSEMENT):
    """Persists the endorsement key of *template*, and returns its TPM2B_PUBLIC in base64."""
    with connect(tpm.tcti) as esys:
        handle, area, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.ek_template(template), hierarchy)
        esys.evict_control(ESYS_TR.OWNER, handle, templates.EK_HANDLE)
    return base64.b64encode(bytes(area.marshal())).decode()


def test_the_tcg_key_is_the_one_that_its_maker_lists_and_certifies(chip):
    key = read(chip)
    maker = json.loads((chip.state_dir / "maker.json").read_text())
    assert base64.b64decode(key["public"]).hex() == maker["endorsement_key"]
    assert key["certificate_matches"] is True
    assert key["certificate_nv_index"] == "0x01c00002"
    # The maker reads the index whole, padding included.
    assert maker["endorsement_key_certificate"].startswith(base64.b64decode(key["certificate"]).hex())
    assert (key["template"], key["source"], key["handle"], key["persisted"]) == ("tcg", "template", None, False)
    assert key["registration_id"] == templates.registration_id(base64.b64decode(key["public"]))


def test_two_templates_give_two_keys_and_one_is_certified(chip):
    tcg, sdk = read(chip, template="tcg"), read(chip, template="sdk")
    assert tcg["public"] != sdk["public"]
    assert (tcg["certificate_matches"], sdk["certificate_matches"]) == (True, False)
    assert (tcg["template"], sdk["template"]) == ("tcg", "sdk")


def test_a_tpm_without_certificate(uncertified):
    key = read(uncertified)
    assert (key["certificate"], key["certificate_nv_index"], key["certificate_matches"]) == (None, None, None)
    assert key["template"] == "tcg"


@pytest.mark.parametrize("template", ["tcg", "sdk"])
@pytest.mark.parametrize("tpm", ["chip", "uncertified"])
def test_a_persisted_key_is_told_by_its_template(request, tpm, template):
    tpm = request.getfixturevalue(tpm)
    public = persist(tpm, template)
    key = read(tpm)
    assert key["public"] == public
    assert (key["template"], key["source"], key["handle"]) == (template, "persistent", "0x81010001")


def test_a_certified_key_is_identified_without_making_keys(chip, monkeypatch):
    persist(chip, "tcg")
    with connect(chip.tcti) as esys:
        properties = read_properties(esys)
        monkeypatch.setattr(templates, "as_pytss", None)
        assert read_endorsement_key(esys, properties=properties).template == "tcg"


def test_identifying_a_key_can_be_left_out(uncertified):
    persist(uncertified, "tcg")
    assert read(uncertified, identify=False)["template"] == "other"


@pytest.mark.parametrize(("there", "wanted"), [("sdk", "tcg"), ("tcg", "sdk")])
def test_a_persisted_key_of_the_other_template_is_refused(chip, there, wanted):
    persist(chip, there)
    with pytest.raises(TpmError, match=f"is of template '{there}', not of '{wanted}'.*fail in the field"):
        read(chip, template=wanted)


def test_a_stock_client_and_tpm2_tools_read_the_same_persisted_key(chip, tools, tmp_path):
    public = persist(chip, "tcg")
    tools("tpm2_readpublic", "-c", "0x81010001", "-o", tmp_path / "read.public", "-n", tmp_path / "read.name")
    assert base64.b64encode((tmp_path / "read.public").read_bytes()).decode() == public
    assert (tmp_path / "read.name").read_bytes().hex() == read(chip)["name"]


def test_the_key_that_tpm2_tools_make_is_the_tcg_one(chip, tools, tmp_path):
    tools("tpm2_createek", "-G", "rsa", "-c", "0x81010001", "-u", tmp_path / "ek.public")
    tools("tpm2_flushcontext", "-t")
    key = read(chip, template="tcg")
    assert base64.b64decode(key["public"]) == (tmp_path / "ek.public").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-C", "e", "-G", "ecc256"), "of another type"),
        (("-C", "e", "-G", "rsa2048"), "its properties"),
    ],
)
def test_what_is_no_endorsement_key_is_not_taken_for_one(chip, tools, tmp_path, options, words):
    tools.put(templates.EK_HANDLE, tmp_path, *options)
    with pytest.raises(TpmError, match=f"0x81010001 is no RSA-2048 endorsement key: .*{words}"):
        read(chip)


def test_an_endorsement_key_of_another_hierarchy_is_not_taken_for_one(chip):
    persist(chip, "tcg", hierarchy=ESYS_TR.OWNER)
    with pytest.raises(TpmError, match="no primary key of the hierarchy"):
        read(chip)


def test_an_endorsement_authorization(chip, tools):
    expected = read(chip)["public"]
    tools("tpm2_changeauth", "-c", "endorsement", "secret")
    assert read(chip, endorsement_auth=b"secret")["public"] == expected
    with pytest.raises(TpmError, match="has an authorization, and none was given.*endorsement_auth"):
        read(chip)
    with pytest.raises(TpmError, match="another one than was given"):
        read(chip, endorsement_auth=b"guess")
    assert "TPM2_PT_LOCKOUT_COUNTER: 0x0" in tools.capability("properties-variable")


def test_a_persisted_key_is_read_without_the_endorsement_authorization(uncertified, tool_for):
    persist(uncertified, "tcg")
    tool_for(uncertified)("tpm2_changeauth", "-c", "endorsement", "secret")
    assert read(uncertified)["template"] == "other"
    assert read(uncertified, endorsement_auth=b"secret")["template"] == "tcg"


def test_it_is_read_from_a_tpm_in_lockout(chip, tools, tmp_path):
    expected = read(chip)["public"]
    tools.lock_out(tmp_path)
    assert read(chip)["public"] == expected


def define_and_write(tools, index, data, directory):
    """Puts *data* into a new NV index."""
    content = directory / "content"
    content.write_bytes(data)
    attributes = "ownerwrite|authwrite|ownerread|authread|no_da"
    tools("tpm2_nvdefine", "-C", "o", "-s", len(data), "-a", attributes, f"0x{index:08x}")
    tools("tpm2_nvwrite", "-C", "o", "-i", content, f"0x{index:08x}")


def test_a_garbled_certificate_is_not_the_same_as_none(uncertified, tool_for, tmp_path):
    define_and_write(tool_for(uncertified), 0x01C00002, b"\x30\x82" + b"\xa5" * 900, tmp_path)
    key = read(uncertified)
    assert key["certificate"] is not None
    assert key["certificate_matches"] is False


def test_an_empty_certificate_index_is_none(uncertified, tool_for, tmp_path):
    define_and_write(tool_for(uncertified), 0x01C00002, bytes(900), tmp_path)
    assert read(uncertified)["certificate"] is None


def test_a_certificate_of_another_tpm_does_not_match(chip, uncertified, tool_for, tmp_path):
    stolen = base64.b64decode(read(chip)["certificate"])
    # Larger than the NV buffer of one read, and padded as makers do.
    define_and_write(tool_for(uncertified), 0x01C00002, stolen + bytes(400), tmp_path)
    key = read(uncertified)
    assert base64.b64decode(key["certificate"]) == stolen
    assert key["certificate_matches"] is False
    assert not certifies(stolen, base64.b64decode(key["public"]))


def test_all_certificates_are_found_with_their_chain(chip, tools, tmp_path):
    one = base64.b64decode(read(chip)["certificate"])
    define_and_write(tools, 0x01C00100, one + one, tmp_path)
    with connect(chip.tcti) as esys:
        found = read_all_certificates(NvReader(esys, read_properties(esys)))
    assert [(each["nv_index"], each["kind"]) for each in found] == [
        ("0x01c00002", "endorsement"),
        ("0x01c00016", "endorsement"),
        ("0x01c00100", "chain"),
        ("0x01c00100", "chain"),
    ]
    assert base64.b64decode(found[-1]["certificate"]) == one


def all_certificates(tpm):
    with connect(tpm.tcti) as esys:
        found = read_all_certificates(NvReader(esys, read_properties(esys)))
    return [(each["nv_index"], each["kind"], base64.b64decode(each["certificate"])) for each in found]


def test_a_chain_goes_on_in_the_next_index(uncertified, tool_for, tmp_path):
    """As firmware TPMs store it: one row of certificates through indices of one size each, the last one padded."""
    one, two = (b"\x30\x82\x02\xbc" + bytes([filler]) * 700 for filler in (1, 2))
    stored = one + two + bytes(148)
    for number, begin in enumerate(range(0, len(stored), 519)):
        define_and_write(tool_for(uncertified), 0x01C00100 + number, stored[begin : begin + 519], tmp_path)
    assert all_certificates(uncertified) == [("0x01c00101", "chain", one), ("0x01c00102", "chain", two)]


def test_what_is_garbled_among_all_certificates_is_returned_as_it_is(uncertified, tool_for, tmp_path):
    garbled = b"\x30\x82" + b"\xa5" * 100
    for index in (0x01C0000A, 0x01C00100):
        define_and_write(tool_for(uncertified), index, garbled, tmp_path)
    assert all_certificates(uncertified) == [
        ("0x01c0000a", "endorsement", garbled),
        ("0x01c00100", "chain", garbled),
    ]
