# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists in each form in which people and their tools write them, down to the bytes."""

from __future__ import annotations

import base64
import codecs
import json
import subprocess
import tracemalloc

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.endorsement_key import (
    EndorsementKeyError,
    decode_endorsement_key,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.key_forms import TEMPLATES
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.manifest import Index
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists.source import FileSource
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates


@pytest.fixture
def index_of(tmp_path):
    """The index of a list with this *content*."""

    def make(content, name="list.txt", *, template=None, **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = FileSource(str(path), **options)
        index = Index(source, template=template)
        return index

    return make


def wanted(index):
    assert index.problems == []
    return {one.registration_id: dict(one.fields) for one in map(index.wanted, index.numbers())}


def told(index):
    return [problem.told(index.source.word) for problem in index.problems]


# Keys.


@pytest.fixture
def tool_files(software_tpm, tmp_path):
    """What tpm2-tools and openssl write and print of one TPM's endorsement key, by a name; and that key."""

    def run(*command):
        done = subprocess.run([*map(str, command)], cwd=tmp_path, check=True, stdout=subprocess.PIPE)
        return done.stdout

    tcti = ["-T", software_tpm.tcti]
    run("tpm2_createek", *tcti, "-Q", "-c", "ek.ctx", "-G", "rsa", "-f", "tss", "-u", "ek.tss")
    run("tpm2_flushcontext", *tcti, "-t")
    found = {}
    for form in ("tss", "pem", "der"):
        found["readpublic"] = run("tpm2_readpublic", *tcti, "-c", "ek.ctx", "-f", form, "-o", f"ek.{form}")
        run("tpm2_flushcontext", *tcti, "-t")
        found[form] = (tmp_path / f"ek.{form}").read_bytes()
    found["print"] = run("tpm2_print", "-t", "TPM2B_PUBLIC", "ek.tss")
    found["modulus"] = run("openssl", "rsa", "-pubin", "-in", "ek.pem", "-noout", "-modulus")
    found["pkcs1"] = run("openssl", "rsa", "-pubin", "-in", "ek.pem", "-RSAPublicKey_out")
    return found


def test_what_tools_write_of_a_key_is_that_key(tool_files, index_of):
    key = tool_files["tss"]
    whole = {
        "tss": key,
        "tpmt": key[2:],
        "readpublic": tool_files["readpublic"],
        "print": tool_files["print"],
        "base64": base64.encodebytes(key).replace(b"\n", b""),
        "base64url": base64.urlsafe_b64encode(key).rstrip(b"="),
        "hex": key.hex().upper().encode(),
        "hex with 0x": b"0x" + key[2:].hex().encode() + b"\n",
        "hex with colons": key.hex(":").encode(),
        "several": tool_files["readpublic"] + b"---\n",
    }
    modulus_only = {name: tool_files[name] for name in ("pem", "der", "modulus", "pkcs1")}
    modulus_only["bare"] = key[-256:].hex().encode()
    for name, content in {**whole, **modulus_only}.items():
        for template in ["tcg", *([None] if name in whole else [])]:
            ((_id, fields),) = wanted(index_of(content, f"ek-{name}", template=template)).items()
            assert base64.b64decode(fields["endorsement_key"]) == key, name
    for name, content in modulus_only.items():
        problem = told(index_of(content, f"ek-{name}"))[0]
        assert "the modulus of a key only: name the template" in problem and "endorsement_key_template" in problem, name


def test_the_template_here_is_the_one_that_devices_use():
    head, size = TEMPLATES["tcg"]
    assert templates.ek_public_template("tcg")[2:-size] == head


def test_what_was_printed_is_held_against_the_name_printed_with_it(tool_files, index_of):
    text = tool_files["readpublic"].decode()
    digit = text.split("rsa: ", 1)[1][10]
    changed = text.replace(
        f"rsa: {text.split('rsa: ', 1)[1][:11]}", f"rsa: {text.split('rsa: ', 1)[1][:10]}{int(digit, 16) ^ 1:x}"
    )
    assert changed != text
    assert told(index_of(changed)) == [
        "key 1: name is not the name of the key that is printed with it: something of it was changed"
    ]
    serial = f"serial_number: 0123\n{text}"
    assert wanted(index_of(serial)) and index_of(serial).source_record(0)["serial_number"] == "0123"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace("raw: 0x1\n", "raw: 0x23\n"),
            "is a key of the type 0x23; the service takes RSA only",
        ),
        (lambda text: text[: text.index("rsa:")], "has no rsa: is it the whole output of tpm2_readpublic"),
        (lambda text: text.replace("0x300b2", "0x300b2000000"), "has a number that is too large"),
        (lambda text: text.replace("0x300b2", "many"), "has for attributes what is no number"),
        (lambda text: text.replace("rsa: ", "rsa: xy"), "has for rsa what is not hexadecimal"),
        (lambda text: text.replace("raw: 0xb\n", "raw: 0x4\n"), "has a name algorithm that is not known"),
    ],
)
def test_what_is_not_as_tpm2_tools_print_it_is_told(tool_files, index_of, change, words):
    (problem,) = told(index_of(change(tool_files["print"].decode())))
    assert words in problem


def test_what_tpm_device_provision_prints(index_of, make_ek):
    units = [(f"unit{number}", make_ek(number)) for number in range(2)]
    text = "".join(
        "Gathering the registration information...\r\n"
        f"\r\nRegistration Id:\r\n{name}\r\n\r\nEndorsement Key:\r\n{key}\r\n\r\nPress any key to continue:\r\n"
        for name, key in units
    )
    found = wanted(index_of(text))
    assert [(name, fields["endorsement_key"]) for name, fields in found.items()] == units
    beside = f"Registration ID: a\nEndorsement key: {units[0][1]}\n"
    assert list(wanted(index_of(beside))) == ["a"]
    failed = "Gathering the registration information...\r\n\r\nRegistration Id:\r\na\r\n"
    assert "is it the whole output of tpm_device_provision?" in told(index_of(failed))[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty or not text"),
        (None, "is empty or not text"),
        ("?", "is in no form that is known"),
        ("A" * 20_000, "has 20,000 characters, more than an endorsement key has in any form"),
        ("AAAAA", "is in no form that is known"),
        ("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", "belongs into endorsement_key_certificate"),
        ("-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----", "is PEM of something else (PRIVATE KEY)"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB", "is PEM that was cut short"),
        ("3059301306072a8648ce3d020106082a8648ce3d030107034200" + "04" * 65, "is a public key of ECC"),
        ("30820122" + "00" * 286, "is DER of no RSA public key of 2048, 3072 or 4096 bits"),
        ("c1" + "00" * 382 + "0b", "is a key of 3072 bits, and the template tcg makes 2048"),
    ],
)
def test_what_is_no_key_in_any_form_is_told(text, words):
    with pytest.raises(EndorsementKeyError) as error:
        decode_endorsement_key(text, "tcg")
    assert words in str(error.value)


# Text.


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.json", "list"])
def test_utf8_and_utf16_are_read(index_of, make_ek, encode, name):
    record = {"registration_id": "a", "endorsement_key": make_ek(1), "initial_twin": {"tags": {"site": "München 温"}}}
    other = {**record, "registration_id": "b", "endorsement_key": make_ek(2)}
    if name == "list.csv":
        rows = [record.values(), other.values()]
        cells = [
            ";".join([one, key, json.dumps(json.dumps(twin, ensure_ascii=False)).replace('\\"', '""')])
            for one, key, twin in rows
        ]
        text = "\r\n".join([";".join(record), *cells])
    else:
        text = json.dumps([record, other], ensure_ascii=False, indent=1)
        if name == "list.jsonl":
            text = "\n".join(json.dumps(one, ensure_ascii=False) for one in (record, other))
    found = wanted(index_of(encode(text), name))
    assert [one["initial_twin"]["tags"]["site"] for one in found.values()] == ["München 温"] * 2


def test_other_encodings_are_refused_by_name_with_the_line(index_of, make_ek):
    head, line = "registration_id,endorsement_key,serial_number", f"a,{make_ek(1)},M\u00fcnchen"
    assert told(index_of(f"{head}\r\nb,{make_ek(2)},1\r\n{line}\r\n".encode("cp1252"), "list.csv")) == [
        f"line 3: is not UTF-8 (byte 0xfc at character {line.index('ü') + 1}), so nobody can say which letters it has; "
        "save the list as UTF-8"
    ]
    record = json.dumps({"registration_id": "a", "serial_number": "M\u00fcnchen"}, ensure_ascii=False)
    (problem,) = told(index_of(f'{{"registration_id": "b"}}\n{record}\n'.encode("latin-1"), "list.jsonl"))
    assert problem.startswith("line 2: is not UTF-8: byte 0xfc at character")
    refused = {
        "utf-32": "is in UTF-32; save it as UTF-8",
        "utf-16-le": "looks like UTF-16 without its mark; save it as UTF-8",
        "utf-16-be": "looks like UTF-16 without its mark; save it as UTF-8",
    }
    for encoding, words in refused.items():
        for name in ("list.csv", "list.jsonl", "list"):
            with pytest.raises(DpsError, match=words):
                index_of(f"{head}\r\n{line}\r\n".encode(encoding), name)
    with pytest.raises(DpsError, match="has a mark of UTF-16 and is not UTF-16"):
        index_of(head.encode("utf-16") + b"\r\x00\n\x00\x00\xd8a\x00", "list.csv")
    (problem,) = told(index_of(f"{head}\nb,{make_ek(2)},1\x002\n", "list.csv"))
    assert problem == "line 2: holds a NUL, which no text has"


# Rows.


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_the_delimiter_is_found(index_of, make_ek, mark, name):
    rows = [
        ["serial_number", "registration_id", "endorsement_key", "iot_hubs"],
        ["0001", "a", make_ek(1), '"x;y,z\tw"'],
    ]
    text = "".join(mark.join(row) + "\r\n" for row in rows)
    index = index_of(text, name)
    assert list(wanted(index)) == ["a"] and index.source_record(0)["serial_number"] == "0001"
    assert list(wanted(index_of(f"sep={mark}\r\n{text}", name))) == ["a"]
    option = {",": "comma", ";": "semicolon", "\t": "tab"}[mark]
    for said in {option, mark} - {"\t"}:
        assert list(wanted(index_of(text, name, delimiter=said))) == ["a"]


def test_a_delimiter_that_is_given_counts(index_of, make_ek):
    with pytest.raises(DpsError, match=r"has no column endorsement_key. Its columns are .* \(by the delimiter tab\)"):
        index_of(
            f"registration_id;endorsement_key\na;{make_ek(1)}\n",
            "list.csv",
            delimiter="tab",
            one_of=["endorsement_key"],
        )


def test_the_empty_rows_of_a_whole_sheet_are_none(index_of, make_ek):
    index = index_of(f"registration_id;endorsement_key\na;{make_ek(1)}\n" + ";\r\n" * 5000, "list.csv")
    assert (list(wanted(index)), index.total) == (["a"], 1)


MANGLED = {
    "1.23457E+12": "is 1.23457E+12, which a spreadsheet makes of a long number: its digits are lost",
    "1,23457E+12": "is 1,23457E+12, which a spreadsheet makes of a long number",
    "1E+15": "is 1E+15, which a spreadsheet makes of a long number",
    "#NAME?": "is #NAME?, which is a spreadsheet's error and no value",
    "#WERT!": "is #WERT!, which is a spreadsheet's error",
    "########": "is ########, which is a spreadsheet's error",
    "03.11.2026": "is 03.11.2026, which is a date, as a spreadsheet makes of what looks like one",
    "3/11/26": "is 3/11/26, which is a date",
    "2026-11-03": "is 2026-11-03, which is a date",
    "03-Nov": "is 03-Nov, which is a date",
    "03. Mrz": "is 03. Mrz, which is a date",
    "Mar-26": "is Mar-26, which is a date",
}


@pytest.mark.parametrize("cell", MANGLED)
def test_what_a_spreadsheet_made_of_an_identity_is_named_with_line_and_column(index_of, make_ek, cell):
    text = f'registration_id,endorsement_key,SN\na,{make_ek(1)},X1\nb,{make_ek(2)},"{cell}"\n'
    (problem,) = told(index_of(text, "list.csv", columns={"serial_number": "SN"}))
    assert problem.startswith(f"line 3: serial_number (column C, SN) {MANGLED[cell]}"), problem
    assert problem.endswith("get the list again with this column formatted as text")


@pytest.mark.parametrize(
    "cell", ["12E5", "1e10", "123456789012345", "A-3-11", "MAR1", "3-11", "1.2.3", "2026", "SEP-T", "+5"]
)
def test_what_only_looks_like_it_is_not(index_of, make_ek, cell):
    assert wanted(index_of(f"registration_id,endorsement_key,serial_number\na,{make_ek(1)},{cell}\n", "list.csv"))


def test_numbers_that_lost_their_zeros_are_told_where_others_kept_them(index_of, make_ek):
    serials = ["000123", "124", "000125", "9126", "1000127"]
    rows = [f"u{at},{make_ek(at)},{serial}" for at, serial in enumerate(serials)]
    index = index_of("\n".join(["registration_id,endorsement_key,serial_number", *rows]), "list.csv")
    assert [one.split(": leading", 1)[0] for one in told(index)] == [
        "line 3: serial_number (column C, serial_number) is 124, where line 2 has 000123",
        "line 5: serial_number (column C, serial_number) is 9126, where line 2 has 000123",
    ]
    assert [index.wanted(number).registration_id for number in index.numbers()] == ["u0", "u2", "u4"]


def test_numbers_of_many_lengths_are_no_loss(index_of, make_ek):
    rows = [f"u{at},{make_ek(at)},{serial}" for at, serial in enumerate(["07", "8", "009", "10"])]
    assert len(wanted(index_of("\n".join(["registration_id,endorsement_key,device_id", *rows]), "list.csv"))) == 4


# One identity, two devices.


def test_an_identity_on_two_lines_is_refused_on_both(index_of, make_ek):
    records = [
        {"registration_id": "a", "endorsement_key": make_ek(1), "device_id": "Pump"},
        {"registration_id": "b", "endorsement_key": make_ek(2), "device_id": "Pump"},
        {"registration_id": "c", "endorsement_key": make_ek(3), "device_id": "pump"},
        {"registration_id": "d", "endorsement_key": make_ek(4), "serial_number": "1"},
        {"registration_id": "e", "endorsement_key": make_ek(5), "serial_number": 1},
        {"registration_id": "F", "endorsement_key": make_ek(6)},
        {"registration_id": "g", "endorsement_key": make_ek(7), "device_id": "F"},
        {"registration_id": "h", "endorsement_key": make_ek(8)},
    ]
    index = index_of("".join(json.dumps(one) + "\n" for one in records), "list.jsonl")
    assert sorted(told(index)) == [
        "line 1: device_id is also that of line 2 (b): a hub would take the two devices for one",
        "line 2: device_id is also that of line 1 (a): a hub would take the two devices for one",
        "line 4: serial_number is also that of line 5",
        "line 5: serial_number is also that of line 4",
        "line 6: device_id is also that of line 7 (g): a hub would take the two devices for one",
        "line 7: device_id is also that of line 6 (F): a hub would take the two devices for one",
    ]
    assert [index.wanted(number).registration_id for number in index.numbers()] == ["c", "h"]


# Arrays.


def service_document(number, key):
    """An enrollment as the cloud's command line prints it, with what its library adds."""
    return {
        "allocationPolicy": "hashed",
        "attestation": {
            "symmetricKey": None,
            "tpm": {"endorsementKey": key, "storageRootKey": None},
            "type": "tpm",
            "x509": None,
        },
        "capabilities": {"iotEdge": False},
        "createdDateTimeUtc": "2026-11-01T00:00:00.000000+00:00",
        "customAllocationDefinition": None,
        "deviceId": f"device-{number}",
        "etag": '"5f00"',
        "initialTwin": {
            "properties": {"additionalProperties": None, "desired": {"additionalProperties": {"rate": 3}}},
            "tags": {"additionalProperties": {"line": number}, "count": None, "metadata": None, "version": None},
        },
        "iotHubHostName": "hub.azure-devices.net",
        "iotHubs": None,
        "lastUpdatedDateTimeUtc": "2026-11-01T00:00:00.000000+00:00",
        "optionalDeviceInformation": None,
        "provisioningStatus": "enabled",
        "registrationId": f"unit-{number}",
        "registrationState": {"status": "unassigned", "payload": None},
        "reprovisionPolicy": {"migrateDeviceData": True, "updateHubAssignment": True},
    }


@pytest.mark.parametrize(
    "write",
    [
        lambda documents: json.dumps(documents, indent=2) + "\n",
        json.dumps,
        lambda documents: json.dumps({"value": documents, "nextLink": None}),
        lambda documents: json.dumps({"count": 3, "nextLink": "https://x", "value": documents}, indent=1),
        lambda documents: "".join(json.dumps(one, indent=2) + "\n" for one in documents),
        lambda documents: "".join(json.dumps(one) + "\n" for one in documents),
    ],
)
@pytest.mark.parametrize("name", ["list.json", "list.txt"])
def test_what_the_clouds_command_line_lists_is_a_manifest(index_of, make_ek, write, name):
    documents = [service_document(number, make_ek(number)) for number in range(3)]
    found = wanted(index_of(write(documents), name))
    assert list(found) == ["unit-0", "unit-1", "unit-2"]
    assert found["unit-1"] == {
        "endorsement_key": make_ek(1),
        "device_id": "device-1",
        "provisioning_status": "enabled",
        "iot_edge": False,
        "initial_twin": {"tags": {"line": 1}, "properties": {"desired": {"rate": 3}}},
        "reprovision_policy": {"update_hub_assignment": True, "migrate_device_data": True},
        "allocation_policy": "hashed",
        "iot_hubs": ["hub.azure-devices.net"],
    }


def test_enrollments_that_are_no_tpms_are_told_with_what_leaves_them_out(index_of, make_ek):
    documents = [service_document(0, make_ek(0)), {"registrationId": "x", "attestation": {"type": "x509"}}]
    documents += [{"registrationId": "y", "attestation": 1}, {"registrationId": "z", "initialTwin": {"tags": "t"}}]
    assert told(index_of(json.dumps(documents), "list.json")) == [
        "record 2: attestation is x509 and no TPM: leave others out, as with --query \"[?attestation.type=='tpm']\"",
        "record 3: attestation is not an object",
        "record 4: attestation is not as the service has it",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{}, {]}]", "record 2: is not JSON"),
        ('[{"registration_id": "a"} {"registration_id": "b"}]', "record 2: has no comma before it"),
        ('[{"registration_id": "a"}', "record 2: ends in the middle of a record: the file was cut short"),
        ('[{"registration_id": "a"},', "record 2: ends in the middle of a record"),
        ('[{"registration_id": "a', "record 1: ends in the middle of a record"),
        ('[{"registration_id": "a"}] x', "record 2: follows the end of the array"),
        ('["a", 1, null]', "record 1: is not an object"),
        ('[{"a": "\\"]}["}]', "record 1: a is not a field of an enrollment"),
        ("[" * 100_000, "record 1: is nested deeper than 32 levels"),
        ("[" + "[" * 1000 + "]" * 1000 + "]", "record 1: is nested deeper than 32 levels"),
    ],
)
def test_arrays_that_are_not_whole_are_told_with_the_record(index_of, text, words):
    assert any(one.startswith(words) for one in told(index_of(text, "list.json"))), told(index_of(text, "list.json"))


def test_an_array_is_streamed_whatever_its_lines(tmp_path, ek_of_modulus):
    """4 MB in one line; more than an index of it and a window over it is never in memory."""
    path = tmp_path / "list.json"
    count = 2_500
    with path.open("w") as file:
        file.write("[")
        for number in range(count):
            key = ek_of_modulus((1 << 63 | 2 * number + 1).to_bytes(8, "big") * 32)
            file.write(("," if number else "") + json.dumps(service_document(number, key)))
        file.write("]")
    assert path.stat().st_size > 3_000_000
    source = FileSource(str(path))
    tracemalloc.start()
    try:
        read = sum(1 for one in source.scan() if not one.reasons)
        assert tracemalloc.get_traced_memory()[1] < 3 << 19
    finally:
        tracemalloc.stop()
    assert read == count
