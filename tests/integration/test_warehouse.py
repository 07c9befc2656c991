# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boxed units: audited, moved to another DPS or hub and cut off at every point, given a new TPM, decommissioned.

The tests stand in the order of a unit's life in the warehouse and share one rack and two emulated services.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import credentials, service
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive
from line_demo.observe import Service

HERE = Path(__file__).parent
PROGRAMS = HERE.parents[1] / "roles" / "lab" / "files"
CONFIGURATION = "etc/tpmfleet-dps-client/config.json"
STATE = "var/lib/tpmfleet-dps-client"
UNITS = tuple(f"rack1-slot0{number}" for number in range(1, 7))
GOOD, MOVED, SWAPPED, SCRAPPED, LOST, STRANGER = UNITS
CAPABILITIES = ("handles-persistent", "properties-variable")


class Place:
    """One of the two services, as inventory variables and seen from the side."""

    def __init__(self, announced: dict) -> None:
        self.id_scope = announced["id_scope"]
        self.hubs = announced["linked_hubs"]
        self.access = {
            "connection_string": announced["connection_string"],
            "ca_file": announced["ca_file"],
        }
        self.variables = {
            **{f"tpmfleet_dps_{name}": value for name, value in self.access.items()},
            "tpmfleet_dps_id_scope": announced["id_scope"],
            "tpmfleet_dps_global_endpoint": announced["endpoint"],
        }
        reached = {"endpoint": announced["endpoint"], "connection_string": announced["connection_string"]}
        self.seen = Service({"service": reached, "ca_file": announced["ca_file"]})

    def enrollments(self) -> dict[str, dict]:
        """Endorsement key to enrollment."""
        return {one["attestation"]["tpm"]["endorsementKey"]: one for one in self.seen.enrollments()}


class Yard:
    """The warehouse: a line whose units are installed, and a second service."""

    def __init__(self, line, old: Place, new: Place, directory: Path) -> None:
        self.line = line
        self.old = old
        self.new = new
        self.directory = directory
        self.log = directory / "tasks"

    def play(self, playbook: str, *units: str, to: Place | None = None, cut_off_at: int = 0, **variables):
        """Runs a playbook over some units, which belong in the place *to*."""
        to = to or self.old
        previous = self.new if to is self.old else self.old
        extra = {**to.variables, **{f"tpmfleet_previous_dps_{name}": value for name, value in previous.access.items()}}
        path = self.directory / "extra.json"
        path.write_text(json.dumps({**extra, **variables}))
        self.log.write_text("")
        limit = ["--limit", ",".join(units)] if units else []
        check = ["--check"] if variables.pop("check", False) else []
        environment = {"ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"), "CUT_OFF_LOG": str(self.log)}
        run = self.line.play(playbook, "-e", f"@{path}", *limit, *check, CUT_OFF_AT=str(cut_off_at), **environment)
        assert (run.code == -9) is bool(cut_off_at), run.printed
        return run

    def task(self, module: str) -> int:
        """The number of the last task of a module that the last run began."""
        return max(int(number) for word, number, *what in self._logged() if what == [module])

    def changing_tasks(self) -> list[int]:
        """The numbers of the tasks of the last run that changed something."""
        return sorted({int(number) for word, number, *_what in self._logged() if word == "changed"})

    def _logged(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()]

    def device(self, unit: str):
        return self.line.rack.device(unit)

    def record(self, unit: str) -> dict:
        """What the ledger has of a unit."""
        return next(record for record in self.line.records() if record["host"] == unit)

    def story(self, unit: str) -> list[dict]:
        """The events that the ledger noted for a unit, the oldest first."""
        query = "SELECT step, what FROM events JOIN devices d ON device = d.id WHERE d.host = ? ORDER BY events.id"
        with sqlite3.connect(f"file:{self.line.directory}/ledger.sqlite?mode=ro", uri=True) as ledger:
            return [{"step": step, **json.loads(what)} for step, what in ledger.execute(query, [unit])]

    def key(self, unit: str) -> str:
        return self.record(unit)["endorsement_key"]

    def bound_for(self, unit: str) -> str:
        """The ID scope that the unit's client is configured for."""
        return json.loads((self.device(unit).files / CONFIGURATION).read_text())["id_scope"]

    def where(self, unit: str) -> set[str]:
        """The ID scopes where the unit may register."""
        key = self.key(unit)
        found = ((place, place.enrollments().get(key)) for place in (self.old, self.new))
        return {place.id_scope for place, one in found if one and one["provisioningStatus"] == "enabled"}

    def power_up(self, unit: str) -> str:
        """What the unit does in the field when it gets power; the ID scope that assigned it."""
        done = self.device(unit).execute(["tpmfleet-dps-client", "register", "--once"])
        assert done.returncode == 0, done.stdout
        status = json.loads(self.device(unit).execute(["tpmfleet-dps-client", "status", "--json"]).stdout)
        return status["assignment"]["id_scope"]

    def hub(self, unit: str) -> str:
        status = json.loads(self.device(unit).execute(["tpmfleet-dps-client", "status", "--json"]).stdout)
        return (status["assignment"] or {}).get("assigned_hub")


def words(run) -> str:
    """What a run printed, without its line breaks."""
    return " ".join(run.printed.split())


@pytest.fixture(scope="module")
def second_service(tmp_path_factory):
    """What the emulator.json of another DPS says."""
    state = tmp_path_factory.mktemp("second-service")
    environment = {**os.environ, "PYTHONPATH": str(PROGRAMS)}
    program = [sys.executable, "-m", "dps_emulator"]
    subprocess.run([*program, "start", "--state-dir", str(state)], env=environment, check=True, capture_output=True)
    yield json.loads((state / "emulator.json").read_text())
    subprocess.run([*program, "stop", "--state-dir", str(state)], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def yard(start_line, second_service, tmp_path_factory):
    line = start_line(6)
    first_service = json.loads((line.directory / "dps" / "emulator.json").read_text())
    yard = Yard(line, Place(first_service), Place(second_service), tmp_path_factory.mktemp("yard"))
    for playbook in ("ek_intake", "software_install"):
        run = yard.play(playbook)
        assert run.code == 0, run.printed
    for unit in (GOOD, MOVED, SWAPPED, SCRAPPED):
        assert yard.power_up(unit) == yard.old.id_scope
    return yard


def picture(yard, *names: str) -> dict:
    """All that an audit has to leave as it is: TPMs, devices, services, ledger."""
    units = {}
    for unit in names:
        places = [f"{place}/tpmfleet-dps-client" for place in ("/etc", "/usr/lib", "/var/lib")]
        look = f"find {' '.join(places)} /etc/systemd/system -type f | sort | xargs sha256sum"
        tpm = [yard.line.tool(unit, "tpm2_getcap", what).stdout for what in CAPABILITIES]
        units[unit] = (yard.device(unit).execute(["sh", "-c", look]).stdout, tpm)
    with sqlite3.connect(f"file:{yard.line.directory}/ledger.sqlite?mode=ro", uri=True) as ledger:
        dump = list(ledger.iterdump())
    return {"units": units, "old": yard.old.enrollments(), "new": yard.new.enrollments(), "ledger": dump}


def somebody_changes_the_enrollment(yard, unit: str, **changes) -> None:
    """Past the line, such as in the portal."""
    access = credentials.parse_connection_string(yard.old.access["connection_string"])
    client = service.Service(access, ca_file=yard.old.access["ca_file"])
    found = client.enrollment(yard.old.enrollments()[yard.key(unit)]["registrationId"])
    for name in ("registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
        found.pop(name, None)
    client.put_enrollment({**found, **changes}, etag="*")
    client.close()


def test_an_audit_of_good_units_says_so_and_changes_nothing(yard, tmp_path):
    before = picture(yard, *UNITS)
    report = tmp_path / "report.json"
    run = yard.play("warehouse_audit", tpmfleet_audit_report=str(report), tpmfleet_ship_date="2029-01-31")
    assert run.code == 0 and "AUDIT: 6 of 6 units are good, 0 to pull" in run.printed, run.printed
    assert picture(yard, *UNITS) == before
    written = json.loads(report.read_text())
    assert written["counts"] == {"units": 6, "good": 6, "pull": 0, "unchecked": 0}
    assert (written["dps_id_scope"], written["ship_date"], written["key_version"]) == (
        yard.old.id_scope,
        "2029-01-31",
        1,
    )
    for unit in written["units"]:
        assert unit["verdict"] == "good" and unit["why"] == ""
        assert {one["check"]: one["state"] for one in unit["findings"]} == dict.fromkeys(
            ("endorsement_key", "ownership", "dps_client", "enrollment"), "good"
        )


def test_an_audit_names_each_bad_unit_with_its_reason(yard, tmp_path):
    """One fault a unit; the good one beside them passes, and the office's view is the same as the report's."""
    rack = yard.line.rack
    # Locked out first, which keeps its memory for the mending; then cleared by who has the board, and taken.
    rack.break_(STRANGER, "tpm-lockout")
    for command in (("tpm2_clear", "-c", "p"), ("tpm2_changeauth", "-c", "owner", "a-stranger")):
        assert yard.line.tool(STRANGER, *command).returncode == 0
    rack.break_(LOST, "powered-off")
    rack.break_(SWAPPED, "tpm-cloned-from", GOOD)
    configuration = yard.device(MOVED).files / CONFIGURATION
    told = configuration.read_text()
    configuration.write_text(told.replace(yard.old.id_scope, "0neSOMEWHERE"))
    somebody_changes_the_enrollment(yard, SCRAPPED, provisioningStatus="disabled")
    report = tmp_path / "report.json"
    try:
        run = yard.play("warehouse_audit", tpmfleet_audit_report=str(report))
    finally:
        for unit in (STRANGER, LOST, SWAPPED):
            rack.mend(unit)
        configuration.write_text(told)
        somebody_changes_the_enrollment(yard, SCRAPPED, provisioningStatus="enabled")
    written = json.loads(report.read_text())
    assert written["counts"] == {"units": 6, "good": 0, "pull": 6, "unchecked": 0}
    why = {unit["host"]: unit["why"] for unit in written["units"]}
    words = {
        STRANGER: "ownership: This TPM has an owner",
        LOST: "endorsement_key: the unit cannot be reached",
        SWAPPED: f"its endorsement key was also found on TF-000001 ({GOOD})",
        GOOD: f"its endorsement key was also found on TF-000003 ({SWAPPED})",
        MOVED: "dps_client: is not as it should be: configuration (id_scope)",
        SCRAPPED: "enrollment: is disabled",
    }
    for unit, reason in words.items():
        assert reason in why[unit], f"{why[unit]!r} is what is said of {unit}"
        assert f"PULL {unit} (" in run.printed.replace("- '", "")
        # The closing summary of the run names it too.
        assert why[unit].split(": ", 1)[1][:40] in run.reason(unit)
    assert "AUDIT: 0 of 6 units are good, 6 to pull" in run.printed and run.bad == set(UNITS)


def test_an_audit_says_which_key_version_a_unit_has(yard):
    """The fleet has a new one, and the rotation is still to come."""
    run = yard.play("warehouse_audit", GOOD, tpmfleet_key_version=2)
    assert run.code == 0 and "ownership: is ours, with key version 1 and not yet 2" in words(run)


def test_an_audit_of_units_of_which_none_is_on_a_list_reports_each(yard, tmp_path):
    """They are older than the first list. A step would be held up by that; an audit has more to say of each."""
    ledger, report = tmp_path / "ledger.sqlite", tmp_path / "report.json"
    shutil.copy(yard.line.directory / "ledger.sqlite", ledger)
    with sqlite3.connect(ledger) as changed:
        changed.execute("UPDATE listed_keys SET endorsement_key_sha256 = replace(endorsement_key_sha256, '0', 'f')")
    policy = {"tpmfleet_ledger": str(ledger), "tpmfleet_ek_list_policy": "preferred"}
    run = yard.play("warehouse_audit", GOOD, MOVED, SCRAPPED, **policy, tpmfleet_audit_report=str(report))
    assert "AUDIT: 0 of 3 units are good, 3 to pull" in run.printed, run.printed
    whys = [unit["why"] for unit in json.loads(report.read_text())["units"]]
    assert len(whys) == 3 and all("is on no list of a TPM maker" in why for why in whys), whys


def test_an_audit_that_the_service_refuses_calls_no_unit_good(yard):
    before, _equals, _key = yard.old.access["connection_string"].partition(";SharedAccessKey=")
    run = yard.play("warehouse_audit", GOOD, tpmfleet_dps_connection_string=f"{before};SharedAccessKey=YQ==")
    assert "AUDIT: 0 of 1 units are good, 0 to pull, 1 not wholly checked" in run.printed


def registrable_where_it_turns_to(yard, unit: str) -> str:
    """The invariant of every moment of a move: the place that the client turns to lets it in. Returns that place."""
    turns_to = yard.bound_for(unit)
    assert turns_to in yard.where(unit)
    return turns_to


def test_check_mode_predicts_a_move_and_moves_nothing(yard):
    before = picture(yard, MOVED)
    predicted = yard.play("reprovision", MOVED, to=yard.new, check=True)
    assert predicted.changed == 5 and picture(yard, MOVED) == before


def test_a_move_that_is_cut_off_anywhere_leaves_the_unit_registrable_and_is_completed(yard):
    """Killed after each task that changes something, in a move of its own each time; then run again to the end.

    Any other point is one of these or the beginning, since nothing is changed in between. Moves go to and fro.
    """
    to, back = yard.new, yard.old
    run = yard.play("reprovision", MOVED, to=to)
    assert run.code == 0 and run.changed == 5
    cuts = [number + 1 for number in yard.changing_tasks()]
    assert len(cuts) == 5
    seen = set()
    for cut in cuts:
        to, back = back, to
        yard.play("reprovision", MOVED, to=to, cut_off_at=cut)
        turns_to = registrable_where_it_turns_to(yard, MOVED)
        seen.add((turns_to == to.id_scope, len(yard.where(MOVED))))
        assert yard.power_up(MOVED) == turns_to
        again = yard.play("reprovision", MOVED, to=to)
        assert again.code == 0, again.printed
        assert yard.bound_for(MOVED) == to.id_scope and yard.where(MOVED) == {to.id_scope}
    # Old place, both while it moves, new place: the cuts did fall into all of them.
    assert seen == {(False, 1), (False, 2), (True, 2), (True, 1)}
    assert yard.play("reprovision", MOVED, to=to).changed == 0
    assert yard.power_up(MOVED) == to.id_scope == yard.old.id_scope
    # For the tests that follow.
    assert yard.play("reprovision", MOVED, to=yard.new).changed == 5
    assert yard.power_up(MOVED) == yard.new.id_scope


def test_a_move_that_is_given_up_half_way_leaves_nothing_in_the_new_place(yard):
    """Cut off after the enrollment there was made, and then the inventory names the place again where the unit is."""
    here, there = yard.new, yard.old
    yard.play("reprovision", MOVED, to=there, cut_off_at=1 + yard.task("dps_enrollments"))
    assert yard.where(MOVED) == {here.id_scope, there.id_scope}
    # Any later step of the line ends it, here the ordinary step 4.
    run = yard.play("warehouse", MOVED, to=here)
    assert "disenrollment done" in words(run) and yard.where(MOVED) == {here.id_scope}


def test_an_old_enrollment_stays_and_is_told_until_there_is_access_to_it(yard):
    """Also where the access is to the new place, whose enrollment would be ended."""
    here, there = yard.new, yard.old
    both = {here.id_scope, there.id_scope}
    run = yard.play("reprovision", MOVED, to=there, tpmfleet_previous_dps_connection_string="")
    assert "disenrollment left" in words(run) and "These enrollments stay" in words(run)
    assert registrable_where_it_turns_to(yard, MOVED) == there.id_scope and yard.where(MOVED) == both
    audit = yard.play("warehouse_audit", MOVED, to=there)
    assert audit.code == 0 and f"in {here.id_scope} too" in words(audit)
    wrong = {"tpmfleet_previous_dps_connection_string": there.access["connection_string"]}
    run = yard.play("reprovision", MOVED, to=there, **wrong)
    assert run.code and "is the access to the DPS where the devices belong" in words(run)
    assert yard.where(MOVED) == both
    done = yard.play("reprovision", MOVED, to=there)
    assert "disenrollment done" in words(done) and yard.where(MOVED) == {there.id_scope}


def test_a_move_to_another_hub_takes_the_units_there(yard):
    """The same service, other hubs: the enrollment and the unit's identity follow, its configuration stays."""
    assert yard.power_up(MOVED) == yard.old.id_scope
    other = next(hub for hub in yard.old.hubs if hub != yard.hub(MOVED))
    enrollment = {"allocation_policy": "static", "iot_hubs": [other]}
    run = yard.play("reprovision", MOVED, tpmfleet_enrollment=enrollment)
    assert "dps_client verified, dps_identity done, enrollment done" in words(run)
    assert yard.hub(MOVED) is None and yard.power_up(MOVED) == yard.old.id_scope and yard.hub(MOVED) == other
    assert yard.play("reprovision", MOVED, tpmfleet_enrollment=enrollment).changed == 0


def exchange_tpm(yard, unit: str) -> None:
    """Another mainboard: a new TPM from the same maker, on its list. What was on the disk stays."""
    tpm = yard.device(unit).tpm
    tpm.stop()
    tpm.manufacture(authority=yard.line.rack.authority)
    tpm.start()
    made = json.loads((tpm.state_dir / "maker.json").read_text())
    entry = {field: base64.b64encode(bytes.fromhex(value)).decode() for field, value in made.items() if value}
    spare = yard.directory / "spare.jsonl"
    spare.write_text(json.dumps({**entry, "maker": "spare", "batch": unit}) + "\n")
    assert yard.play("ek_intake", tpmfleet_ek_list=str(spare)).code == 0


def test_a_new_tpm_takes_the_place_of_the_old_one(yard):
    old_key, old_id = yard.key(SWAPPED), yard.record(SWAPPED)["registration_id"]
    exchange_tpm(yard, SWAPPED)
    unnamed = yard.play("replace_tpm", SWAPPED)
    assert "tpmfleet_replace_tpm is not set for this host" in words(unnamed)
    assert old_key in yard.old.enrollments()
    # Cut off once the ledger has the new TPM and before the service was asked for anything.
    predicted = yard.play("replace_tpm", SWAPPED, check=True, tpmfleet_replace_tpm=True)
    yard.play("replace_tpm", SWAPPED, cut_off_at=1 + yard.changing_tasks()[0], tpmfleet_replace_tpm=True)
    assert yard.key(SWAPPED) != old_key and old_key in yard.old.enrollments()
    run = yard.play("replace_tpm", SWAPPED, tpmfleet_replace_tpm=True)
    assert run.code == 0 and "disenrollment done" in words(run) and "dps_identity done" in words(run), run.printed
    # All that was predicted, but for what the cut run has told the ledger already.
    assert run.changed == predicted.changed - 1
    enrollments = yard.old.enrollments()
    assert old_key not in enrollments and yard.old.seen.registration(old_id) == {}
    assert enrollments[yard.key(SWAPPED)]["deviceId"] == old_id
    assert yard.power_up(SWAPPED) == yard.old.id_scope
    assert yard.line.seen()[SWAPPED].owned
    assert yard.play("replace_tpm", SWAPPED, tpmfleet_replace_tpm=True).changed == 0
    assert yard.play("warehouse_audit", SWAPPED).code == 0
    replaced = [event for event in yard.story(SWAPPED) if event.get("replaced_endorsement_key")]
    assert [event["replaced_endorsement_key"] for event in replaced] == [old_key]


def test_decommissioning_has_to_be_confirmed_by_name(yard):
    before = picture(yard, SCRAPPED)
    for named in ([], ["TF-00000"], "TF-0000044,TF-000005x"):
        run = yard.play("decommission", SCRAPPED, LOST, tpmfleet_decommission_confirm=named)
        assert run.bad == {SCRAPPED, LOST} and "is not among the devices that" in words(run)
    check = yard.play("decommission", SCRAPPED, check=True, tpmfleet_decommission_confirm="TF-000004")
    assert check.code == 0 and check.changed == 4, check.printed
    assert picture(yard, SCRAPPED) == before and yard.where(LOST) == {yard.old.id_scope}


def persist_a_hub_key(yard, unit: str, directory: Path) -> None:
    """What an application's client does: a key of its own at the handle where the stock clients have theirs."""
    master_key = (yard.line.directory / "master-key").read_text().strip()
    auth = derive(master_key, yard.record(unit)["endorsement_key_name"], "owner", 1)
    key = str(directory / "key")
    for command in (
        ("tpm2_createprimary", "-C", "o", "-P", auth, "-G", "ecc", "-c", key),
        ("tpm2_evictcontrol", "-C", "o", "-P", auth, "-c", key, "0x81000100"),
        ("tpm2_flushcontext", "-t"),
    ):
        done = yard.line.tool(unit, *command)
        assert done.returncode == 0, done.stdout


def test_a_decommissioning_that_is_cut_off_is_known_and_completed(yard, tmp_path):
    named = {"tpmfleet_decommission_confirm": ["TF-000004"]}
    key, registration_id = yard.key(SCRAPPED), yard.record(SCRAPPED)["registration_id"]
    cut = 2 + yard.changing_tasks()[1]
    persist_a_hub_key(yard, SCRAPPED, tmp_path)
    yard.play("decommission", SCRAPPED, cut_off_at=cut, **named)
    # The service lets it in no more; the unit itself is as it was, and no other step takes it.
    assert yard.where(SCRAPPED) == set() and yard.line.seen()[SCRAPPED].owned
    assert "it is half decommissioned" in words(yard.play("warehouse", SCRAPPED))
    # A unit that is not named is not touched beside one that is.
    run = yard.play("decommission", SCRAPPED, GOOD, **named)
    assert run.bad == {GOOD} and yard.where(GOOD) == {yard.old.id_scope}
    assert key not in yard.old.enrollments() and yard.old.seen.registration(registration_id) == {}
    after = yard.line.seen()[SCRAPPED]
    assert not (after.owner_auth_set or after.lockout_auth_set or after.endorsement_key or after.storage_root_key)
    assert yard.line.tool(SCRAPPED, "tpm2_getcap", "handles-persistent").stdout == ""
    left = yard.device(SCRAPPED).execute(["sh", "-c", f"ls -d /{STATE} /{CONFIGURATION} /usr/bin/tpmfleet-dps-client"])
    assert left.stdout.count("No such file") == 3, left.stdout
    again = yard.play("decommission", SCRAPPED, **named)
    assert again.code == 0 and again.changed == 0, again.printed
    told = yard.story(SCRAPPED)
    assert [event["step"] for event in told[-2:]] == ["decommission"] * 2
    assert any(event.get("disenrolled") for event in told)


def test_a_decommissioned_unit_that_comes_back_is_told(yard):
    run = yard.play("software_install", SCRAPPED)
    assert run.bad == {SCRAPPED} and "it was decommissioned on" in run.reason(SCRAPPED)
    again = yard.play("software_install", SCRAPPED, tpmfleet_recommission=True)
    assert again.code == 0 and yard.where(SCRAPPED) == {yard.old.id_scope}, again.printed
    # And a second time out of service, now with its TPM cleared.
    srk = yard.line.seen()[SCRAPPED].storage_root_key
    clear = {"tpmfleet_decommission_confirm": ["TF-000004"], "tpmfleet_decommission_clear_tpm": True}
    assert yard.play("decommission", SCRAPPED, **clear).code == 0
    again = yard.play("software_install", SCRAPPED, tpmfleet_recommission=True)
    assert again.code == 0 and yard.line.seen()[SCRAPPED].storage_root_key not in (None, srk), again.printed


def test_a_lost_unit_is_decommissioned_at_the_service(yard):
    yard.line.rack.break_(LOST, "powered-off")
    named = {"tpmfleet_decommission_confirm": ["TF-000005"], "tpmfleet_decommission_lost": True}
    run = yard.play("decommission", LOST, **named)
    assert run.code == 0 and "device lost, disenrollment done" in words(run), run.printed
    assert yard.where(LOST) == set()
    assert yard.play("decommission", LOST, **named).changed == 0
    yard.line.rack.mend(LOST)


def test_a_tpm_that_was_cleared_on_purpose_is_claimed_again_before_anything_is_done_in_its_name(yard):
    """What is not the recorded one is proven by a call of its own, and the rest follows as for any other."""
    assert yard.line.tool(GOOD, "tpm2_clear", "-c", "p").returncode == 0
    run = yard.play("warehouse", GOOD)
    assert run.bad == {GOOD} and "its TPM was cleared since" in run.reason(GOOD)
    allowed = yard.play("warehouse", GOOD, tpmfleet_new_storage_root_key_allowed=True)
    assert allowed.code == 0 and "ownership done, possession verified, dps_client verified" in words(allowed)
    assert yard.play("warehouse", GOOD).changed == 0
