# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit makes of results: each finding, the verdict of a unit, and the lines for people."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.audit_report import audit_report

SCOPE = "0neHERE"


class Unit:
    """What was found on a good unit, in the ledger and at the service; a test changes it."""

    def __init__(self, number: int) -> None:
        self.place = {"dps_id_scope": SCOPE, "registration_id": f"reg-{number}", "endorsement_key": f"EK{number}"}
        self.record = {
            **self.place,
            "registration_id": f"Reg-{number}",
            "serial_number": f"SN-{number}",
            "ownership": {"profile": "fleet", "key_version": 1},
            "places": [self.place],
        }
        self.verdict = {"known": True, "accepted": True, "reasons": [], "remarks": [], "record": self.record}
        self.key = {"endorsement_key": {"public": f"EK{number}"}}
        self.authorizations = {"owner": "given", "endorsement": "none", "lockout": "given"}
        self.ownership = {
            "changed": False,
            "actions": [],
            "hierarchies": {},
            "authorizations_before": self.authorizations,
        }
        self.client = {"changed": False, "changes": [], "changed_settings": []}
        # In place of both.
        self.work = None
        self.enrollment = {"registration_id": f"reg-{number}", "action": "unchanged", "changed_fields": []}


@pytest.fixture
def good():
    return Unit(1)


@pytest.fixture
def unit():
    return Unit(2)


@pytest.fixture
def audited(good, unit):
    """The report of both; with *service* in place of what the service said."""

    def run(service: dict | None = None) -> dict:
        units = {"slot1": good, "slot2": unit}
        hostvars = {
            host: {"read": one.key, "done": one.work or {"ownership": one.ownership, "client": one.client}}
            for host, one in units.items()
        }
        return audit_report(
            list(units),
            hostvars,
            verdicts={host: one.verdict for host, one in units.items()},
            enrollments=service or {"results": [one.enrollment for one in units.values()]},
            device="read",
            work="done",
            id_scope=SCOPE,
            key_version="1",
        )

    return run


def test_good_units_are_one_line(audited):
    report = audited()
    assert report["lines"] == ["AUDIT: 2 of 2 units are good, 0 to pull"] and report["bad"] == {}
    assert report["counts"] == {"units": 2, "good": 2, "pull": 0, "unchecked": 0}
    assert report["units"][1] == {
        "host": "slot2",
        "serial_number": "SN-2",
        "registration_id": "Reg-2",
        "verdict": "good",
        "why": "",
        "findings": [
            {"check": "endorsement_key", "state": "good", "words": "is the recorded one"},
            {"check": "ownership", "state": "good", "words": "is ours, with key version 1"},
            {"check": "dps_client", "state": "good", "words": "is configured for the target"},
            {"check": "enrollment", "state": "good", "words": "is there and enabled"},
        ],
    }


def enrollment(action, *fields, reason=None):
    return lambda unit: unit.enrollment.update(action=action, changed_fields=list(fields), reason=reason)


def verdict(**changes):
    return lambda unit: unit.verdict.update(changes)


@pytest.mark.parametrize(
    ("break_", "why"),
    [
        (lambda unit: unit.key.update(unreachable=True, msg="no\nroute"), "the unit cannot be reached: no route"),
        (lambda unit: unit.__dict__.update(key={"failed": True, "msg": "No TPM."}), "endorsement_key: No TPM."),
        (verdict(known=False), "endorsement_key: the ledger does not know the unit"),
        (
            verdict(accepted=False, reasons=["its certificate is not valid on 2029-01-31", "it was decommissioned"]),
            "endorsement_key: its certificate is not valid on 2029-01-31; it was decommissioned",
        ),
        (lambda unit: unit.__dict__.update(ownership={"failed": True, "msg": "It is locked."}), "ownership: It is lo"),
        (lambda unit: unit.authorizations.update(lockout="none"), "ownership: has no lockout authorization any more"),
        (
            lambda unit: unit.ownership.update(changed=True, actions=["persist the storage root key"]),
            "ownership: is not as it was left: a claim would persist the storage root key",
        ),
        (lambda unit: unit.client.update(failed=True, msg="No."), "dps_client: No."),
        (
            lambda unit: unit.client.update(changed=True, changes=["configuration"], changed_settings=["id_scope"]),
            "dps_client: is not as it should be: configuration (id_scope)",
        ),
        (lambda unit: unit.__dict__.update(client={"changed": True}), "dps_client: is not as it should be: config"),
        (
            lambda unit: unit.__dict__.update(work={"failed": True, "msg": "No key."}),
            "ownership: No key.; dps_client: No",
        ),
        (enrollment("created"), "enrollment: there is none in this service"),
        (enrollment("updated", "provisioning_status", "initial_twin"), "enrollment: is disabled"),
        (enrollment("updated", "iot_hubs", "initial_twin"), "differs from what is wanted in initial_twin, iot_hubs"),
        (enrollment("failed", reason="it is of another TPM"), "enrollment: it is of another TPM"),
    ],
)
def test_a_bad_unit_is_to_be_pulled_and_says_why(audited, unit, break_, why):
    break_(unit)
    report = audited()
    assert report["counts"] == {"units": 2, "good": 1, "pull": 1, "unchecked": 0}
    assert why in report["bad"]["slot2"] and report["units"][1]["verdict"] == "pull"
    assert report["lines"][:2] == [
        "AUDIT: 1 of 2 units are good, 1 to pull",
        f"PULL slot2 (SN-2): {report['bad']['slot2']}",
    ]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (verdict(remarks=["its certificate is no strict DER"]), "endorsement_key: its certificate is no strict DER"),
        (lambda unit: unit.authorizations.update(owner="previous"), "with key version 1 and not yet 1"),
        (lambda unit: unit.authorizations.update(lockout="unproven"), "nothing in the TPM proves"),
        (lambda unit: unit.client.update(changed=True, changes=["program"]), "is not as it should be: program"),
        (enrollment("updated", "initial_twin"), "differs from what is wanted in initial_twin"),
        (
            lambda unit: unit.record["places"].append({**unit.place, "dps_id_scope": "0neOLD"}),
            "other_enrollments: may be enrolled as reg-2 in 0neOLD too",
        ),
    ],
)
def test_what_is_worth_knowing_of_a_good_unit_is_a_note(audited, unit, change, note):
    change(unit)
    report = audited()
    assert report["bad"] == {} and report["counts"]["good"] == 2
    assert len(report["lines"]) == 2 and report["lines"][1].startswith("note slot2 (SN-2): ")
    assert note in report["lines"][1]


def test_an_owner_authorization_is_not_asked_of_a_unit_for_stock_clients(audited, unit):
    unit.record["ownership"]["profile"] = "sdk"
    unit.authorizations["owner"] = "none"
    assert audited()["counts"]["good"] == 2


def test_what_was_not_checked_is_not_called_good(audited, unit):
    unit.ownership = {"skipped": True}
    report = audited()
    assert report["counts"] == {"units": 2, "good": 1, "pull": 0, "unchecked": 1}
    assert report["lines"] == [
        "AUDIT: 1 of 2 units are good, 0 to pull, 1 not wholly checked",
        "NOT CHECKED slot2 (SN-2): ownership: was not looked at",
    ]


def test_a_service_that_does_not_answer_leaves_all_unchecked(audited):
    report = audited({"failed": True, "msg": "No answer from the service."})
    assert report["counts"] == {"units": 2, "good": 0, "pull": 0, "unchecked": 2}
    assert report["bad"]["slot1"] == "enrollment: the service was not asked: No answer from the service."


def test_of_a_unit_to_pull_only_the_reasons_are_told(audited, unit):
    """An unreachable unit has no other reason, though nothing else could be looked at."""
    unit.key.update(unreachable=True, msg="no route")
    unit.ownership = {}
    unit.client = {"unreachable": True, "msg": "no route"}
    assert audited()["bad"] == {"slot2": "endorsement_key: the unit cannot be reached: no route"}


def test_a_unit_without_a_serial_number_has_its_host_name(audited, unit):
    del unit.record["serial_number"]
    unit.verdict["known"] = False
    assert audited()["lines"][1].startswith("PULL slot2: endorsement_key")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("key", {"unreachable": True, "msg": "\x1b[2J\u202enothing is wrong\u200b"}),
        ("key", {"endorsement_key": None, "msg": "a\x9bb\u2066"}),
        ("client", {"failed": True, "msg": "\x1b]0;good\x07"}),
        ("client", {"changed": True, "changes": ["\u202ex"], "changed_settings": ["\x00"]}),
        ("ownership", {"msg": "\x08\x08good"}),
        ("verdict", {"known": True, "accepted": False, "reasons": ["\u202e\x1b"]}),
        ("enrollment", {"registration_id": "reg-2", "action": "failed", "reason": "\u200f\x1b[1m"}),
    ],
)
def test_what_a_unit_says_is_shown_and_not_obeyed(audited, unit, part, told):
    setattr(unit, part, told)
    unit.record["serial_number"] = "SN\u202e-2"
    report = audited()
    shown = [*report["lines"], *report["bad"].values()]
    shown += [finding["words"] for one in report["units"] for finding in one["findings"]]
    assert all(text.isprintable() for text in shown), shown
    assert report["counts"]["pull"] == 1 and "slot1" not in report["bad"]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("ownership", {"hierarchies": {}, "authorizations_before": 5}),
        ("ownership", {"hierarchies": {}}),
        ("ownership", {"hierarchies": {}, "authorizations_before": {"owner": {}, "lockout": []}}),
        ("client", {"changed": True, "changes": [{}, 1]}),
        ("client", {"changed": True, "changes": 7}),
        ("client", {"changed": True, "changes": ["x"], "changed_settings": [[]]}),
        ("enrollment", {"registration_id": "reg-2", "action": "updated", "changed_fields": [{}]}),
    ],
)
def test_what_no_unit_ever_says_is_a_reason_to_pull_that_unit_alone(audited, unit, part, told):
    setattr(unit, part, told)
    report = audited()
    assert list(report["bad"]) == ["slot2"]
    assert "what was told of it is not as it is ever told" in report["bad"]["slot2"]
