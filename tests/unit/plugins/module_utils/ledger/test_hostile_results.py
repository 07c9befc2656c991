# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hundreds of results that no honest unit gives, through the wall and through the ledger, beside one honest unit.

What a hostile unit says stops it, in words that name it, or is data like any other's; the honest unit passes each time.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from types import SimpleNamespace

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.device_records import device_records
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.answer import NoAnswerError, read_answer
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import RETURNED
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.shape import ShapeError

HONEST, HOSTILE = "rack1-slot01", "rack1-slot02"
TPM = {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85.17.4555", "tpm_type": "hardware"}


def nested(depth, kind):
    """A value of *depth* lists or objects, one in the other."""
    value = "x"
    for _level in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


# Values that stand where another belongs. What JSON cannot say as such is written into its text.
HOSTILE_VALUES = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus": -1,
    "2**31": 2**31,
    "2**64": 2**64,
    "10**400": 10**400,
    "1e308": 1e308,
    "half": 0.5,
    "text": "text",
    "empty": "",
    "space": " ",
    "NUL": "a\x00b",
    "surrogate": "\ud800",
    "bidi": "\u202eabc",
    "escape": "\x1b[2J\x1b]0;x\x07",
    "lines": "a\nPLAY RECAP\nok: [rack1-slot01]",
    "template": "{{ lookup('ansible.builtin.pipe', 'touch /owned') }}",
    "markup": "<script>alert(1)</script>",
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../../../etc/passwd",
    "long": "a" * 70_000,
    "longest": "a" * 300_000,
    "letters": "\u0430" * 40,
    "list": [],
    "lists": [["x"], {"a": 1}],
    "object": {},
    "deep list": nested(500, list),
    "deep object": nested(500, dict),
    "wide": [0] * 20_000,
    "names": {f"n{number}": number for number in range(20_000)},
    "wrapped": {"__ansible_type": "TrustedAsTemplate", "value": "{{ 1 }}"},
    "unsafe": {"__ansible_unsafe": "x"},
    "vault": {"__ansible_vault": "x"},
}
MAGIC = {
    "ansible_facts": {"tpmfleet_power_up_command": ["touch", "/owned"], "tpmfleet_production": False},
    "ansible_host": "rack1-slot01",
    "_ansible_no_log": True,
    "_ansible_delegated_vars": {"ansible_delegated_host": "rack1-slot01"},
    "add_host": {"host_name": "rack1-slot99", "groups": ["devices"]},
    "add_group": "devices",
    "ansible_stats": {"data": {"x": 1}},
    "unreachable": True,
    "skipped": True,
    "failure": {"kind": "again", "option": None},
    "answered": False,
    "results": [{"ansible_facts": {"a": 1}}],
    "record_version": 99,
    "host": "rack1-slot01",
    "exceptions": ["software_tpm"],
    "outcome": {"ownership": "done"},
}


def paths(value, path=()):
    """The place of each value in *value*, the outermost first."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))


def with_value(value, path, news):
    """A copy of *value* with *news* at *path*."""
    if not path:
        return news
    copied = value.copy()
    copied[path[0]] = with_value(value[path[0]], path[1:], news)
    return copied


def at(value, path):
    """What is at *path*."""
    for step in path:
        value = value[step]
    return value


def key_of(public):
    """An endorsement key as the module returns it."""
    data = base64.b64decode(public)
    return {
        "public": public,
        "sha256": hashlib.sha256(data).hexdigest(),
        "registration_id": templates.registration_id(data),
        "name": templates.name_of(data).hex(),
        "template": "tcg",
        "source": "persistent",
        "handle": "0x81010001",
        "persisted": True,
        "certificate": None,
        "certificate_nv_index": None,
        "certificate_matches": None,
        "certificate_about": None,
    }


@pytest.fixture
def honest(make_ek):
    """What tpm_endorsement_key_info returns on the *number*-th unit."""

    def result(number):
        certificate = {"nv_index": "0x01c00100", "kind": "chain", "certificate": base64.b64encode(b"x").decode()}
        return {
            "changed": False,
            "endorsement_key": key_of(make_ek(number)),
            "tpm": TPM,
            "certificates": [certificate],
            "unreadable": [],
            "warnings": ["so so"],
        }

    return result


def hostile_results(result):
    """(what it is, the text that the unit prints) for each way to spoil *result*."""
    places = list(paths(result))
    for place in places:
        for name, value in HOSTILE_VALUES.items():
            yield f"{name} at {place}", json.dumps(with_value(result, place, value))
        if isinstance(at(result, place), dict):
            for name, value in MAGIC.items():
                yield f"{name} in {place}", json.dumps(with_value(result, place, {**at(result, place), name: value}))
            for name in at(result, place):
                left = {other: value for other, value in at(result, place).items() if other != name}
                yield f"no {name} in {place}", json.dumps(with_value(result, place, left))
    text = json.dumps(result)
    for cut in range(1, len(text), 97):
        yield f"cut at {cut}", text[:cut]
    for name, said in {
        "NaN": text.replace("false", "NaN"),
        "infinity": text.replace("false", "-Infinity"),
        "twice": text.replace('"changed"', '"changed": true, "changed"'),
        "two": text + "\n" + text,
        "huge number": text.replace("false", "1" * 200_000),
        "brackets": "{" * 200_000,
        "pairs": '{"a":' * 40_000 + "1" + "}" * 40_000,
        "nothing": "",
        "failed": json.dumps({"failed": True, **MAGIC}),
        "failed deep": json.dumps({"failed": True, "msg": nested(500, dict)}),
    }.items():
        yield name, said


def behind_the_wall(module, printed):
    """The result of *module*'s task where its unit *printed* that; None where that stops it."""
    plugin = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.action.{module}").ActionModule
    action = plugin.__new__(plugin)
    action._task = SimpleNamespace(delegate_to=None, args={}, check_mode=False, diff=False, action=module)
    action._host = HOSTILE

    def run_module(name, *_arguments, **_options):
        try:
            return read_answer(printed, RETURNED[name], None)
        except (ShapeError, NoAnswerError) as error:
            words = str(error)
            assert words and len(words) < 500 and words.isprintable(), words
            return {"failed": True, "changed": False, "msg": f"{HOSTILE}: {words}"}

    action.run_module = run_module
    result = action.work({"inventory_hostname": HOSTILE})
    if result.get("failed"):
        assert isinstance(result["msg"], str) and result["msg"].isprintable() and len(result["msg"]) < 5000
        assert not set(MAGIC) & set(result)
        return None
    assert not set(MAGIC) & {name for place in paths(result) for name in place}, result
    text = json.dumps(result, ensure_ascii=False)
    assert not {"\x00", "\x1b", "\u202e"} & set(text) and len(text) <= 256 << 10
    return result


def records_of(honest_result, hostile_result):
    """The records of a batch of both."""
    variables = {"tpmfleet_dps_id_scope": "0ne00000000", "tpmfleet_production": True}
    results = {HONEST: honest_result, HOSTILE: hostile_result}
    read = {host: {"record": record_of(host, variables, [result])} for host, result in results.items()}
    hostvars = {host: {**variables, "read": said} for host, said in read.items()}
    return device_records([HONEST, HOSTILE], hostvars, device="read", enrolling=True)


def test_no_hostile_result_passes_the_wall_with_more_than_data(honest):
    assert behind_the_wall("tpm_endorsement_key_info", json.dumps(honest(2)))
    tried = passed = 0
    for what, printed in hostile_results(honest(2)):
        tried += 1
        try:
            passed += behind_the_wall("tpm_endorsement_key_info", printed) is not None
        except AssertionError as error:
            raise AssertionError(what) from error
    assert tried > 900
    # Text is text, and fields that nobody documented are left out.
    assert 100 < passed < tried / 3


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_honest_unit_passes_beside_each_of_them(honest, take, request, database):
    ledger = request.getfixturevalue(database)
    if database == "postgresql":
        ledger = ledger.ledger()
    seen = set()
    for what, printed in hostile_results(honest(2)):
        result = behind_the_wall("tpm_endorsement_key_info", printed)
        if result is None:
            continue
        records = records_of(honest(1), result)
        # What comes to the same record is not taken twice.
        same = json.dumps(records[1], sort_keys=True)
        if same in seen:
            continue
        seen.add(same)
        verdicts = take(*records, ledger=ledger)
        assert not verdicts[HONEST].reasons, (what, verdicts[HONEST].reasons)
        assert set(verdicts) == {HONEST, HOSTILE}, what
    assert len(seen) > 20


@pytest.mark.parametrize("module", sorted(RETURNED))
def test_no_module_lets_more_than_data_through(module):
    """The wall is the same for all; each has at least one field of each of its kinds spoiled."""
    for value in HOSTILE_VALUES.values():
        for name in RETURNED[module].fields:
            whole = {field: None for field in RETURNED[module].fields} | {name: value, "changed": False}
            try:
                said = read_answer(json.dumps(whole), RETURNED[module], None)
            except (ShapeError, NoAnswerError) as error:
                assert str(error).isprintable() and len(str(error)) < 500
            else:
                assert set(said) <= set(RETURNED[module].fields) | {"changed"}
