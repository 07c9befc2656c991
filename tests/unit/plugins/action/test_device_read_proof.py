# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device is asked to prove while it is read, and when it counts as proven; over a rack in tests/integration."""

from __future__ import annotations

import base64
import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.tpmfleet.azure_dps.plugins.action.device_read import ActionModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import derived_from_endorsement_key
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import Proof

HOST = "rack1-slot01"


@pytest.fixture
def read(make_ek):
    """What the device returns that holds an endorsement key, by its number, with an answer."""

    def said(number, **more):
        public = make_ek(number)
        derived = derived_from_endorsement_key(base64.b64decode(public))
        key = {"public": public, **derived, "certificate_matches": None, "template": "tcg"}
        return {"changed": False, "endorsement_key": key, "answer": None, **more}

    return said


@pytest.fixture
def work():
    """(The task's result, the arguments that were sent) where the ledger has a *record* and the device *said* that."""

    def run(record, said, **given):
        sent = []
        action = ActionModule.__new__(ActionModule)
        action._task = types.SimpleNamespace(args={"recorded": "looked_up", **given})
        action._loader = DataLoader()

        def run_module(module, arguments, task_vars):
            sent.append(arguments)
            return said

        action.run_module = run_module
        records = [{"host": "another", "endorsement_key": "AAAA"}, *([{"host": HOST, **record}] if record else [])]
        result = action.work({"inventory_hostname": HOST, "looked_up": {"records": records}})
        return result, sent[0]

    return run


@pytest.fixture
def any_answer(monkeypatch):
    """Whatever is answered is right."""
    monkeypatch.setattr(Proof, "check_answer", lambda self, answer: None)


def test_a_device_that_gives_the_proof_has_proven_its_key(work, read, any_answer):
    said = read(1)
    key = said["endorsement_key"]
    result, sent = work({"endorsement_key": key["public"]}, said)
    assert result["proven"] and result["record"]["proven"] == key["sha256"] and "answer" not in result
    assert sent["challenge"] and sent["recorded_endorsement_key"] == key["public"]


@pytest.mark.parametrize("answer", [None, "", "00" * 32, 7])
def test_a_wrong_answer_proves_nothing_and_the_device_is_read(work, read, answer):
    said = read(1, answer=answer)
    result, _sent = work({"endorsement_key": said["endorsement_key"]["public"]}, said)
    assert result["proven"] is False and "proven" not in result["record"] and result["record"]["endorsement_key"]


def test_the_proof_of_one_key_is_none_of_another_that_the_device_names(work, read, any_answer):
    result, _sent = work({"endorsement_key": read(2)["endorsement_key"]["public"]}, read(1))
    assert result["proven"] is False and "proven" not in result["record"]


@pytest.mark.parametrize(
    ("record", "given"),
    [
        (None, {}),
        ({}, {}),
        ({"endorsement_key": "no base64"}, {}),
        ({"endorsement_key": "AToA"}, {}),
        # Both keys, or none: a TPM that was cleared has the same endorsement key.
        ({"endorsement_key": "its own"}, {"storage_root_key": True}),
        ({"endorsement_key": "its own", "storage_root_key": "AToA"}, {"storage_root_key": True}),
    ],
    ids=str,
)
def test_what_is_not_on_record_as_a_key_is_not_asked_for(work, read, any_answer, record, given):
    said = read(1)
    if record and record.get("endorsement_key") == "its own":
        record = {**record, "endorsement_key": said["endorsement_key"]["public"]}
    result, sent = work(record, said, **given)
    assert result["proven"] is False and "challenge" not in sent


def test_a_challenge_cannot_be_given(work, read):
    with pytest.raises(AnsibleActionFail, match="challenge is made for each task anew"):
        work({}, read(1), challenge={})
