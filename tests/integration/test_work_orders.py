# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firms that share nothing but the files that they hand over: TPM maker, owner, and who installs software.

The tests stand in the order of the day and share its rack. The owner never reaches a unit, and the installer has
neither the owner's ledger, nor his master key, nor a right at his DPS.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
ATTACKERS_PYTHON = "usr/local/bin/attackers-python"
NUMBER = "WO-2026-0042"
SECOND = "WO-2026-0043"
THIRD = "WO-2026-0044"
# On the first order, on the second, on none.
UNITS = FIRST, FAILS, OTHER, STRANGER = [f"rack1-slot0{number}" for number in range(1, 5)]


def ssh_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path], check=True)
    return path


class Firms:
    """Directories of three firms, and what they run there."""

    def __init__(self, line, directory: Path, searching) -> None:
        self.line, self.searching = line, searching
        self.owner, self.installer = directory / "owner", directory / "installer"
        for place in (self.owner, self.installer):
            place.mkdir()
        lab = yaml.safe_load((line.directory / "inventory.yml").read_text())
        said = lab["all"]["vars"]
        hosts = lab["devices"]["hosts"]
        self.master_key = (line.directory / "master-key").read_text().strip()
        self.connection_string = said["tpmfleet_dps_connection_string"]
        self.id_scope = said["tpmfleet_dps_id_scope"]
        self.ledger = self.owner / "ledger.sqlite"
        # What the owner has, but no way to a unit.
        self._inventory(
            self.owner,
            {**said, "tpmfleet_ledger": str(self.ledger)},
            {name: {"ansible_host": "192.0.2.1"} for name in hosts},
            lab["devices"]["vars"],
        )
        # What an installer has: the way to the units, and his own names for them.
        reach = (
            "ansible_host",
            "ansible_port",
            "ansible_user",
            "ansible_ssh_private_key_file",
            "ansible_ssh_common_args",
        )
        keep = ("tpmfleet_production", "tpmfleet_tpm_timeout")
        self._inventory(
            self.installer,
            {name: value for name, value in said.items() if name in keep},
            {
                name: {one: value for one, value in host.items() if one in (*reach, "tpmfleet_tcti")}
                for name, host in hosts.items()
            },
            {name: value for name, value in lab["devices"]["vars"].items() if name in keep or "ansible" in name},
        )
        self.owners_key, self.installers_key = ssh_key(self.owner / "owner-key"), ssh_key(self.installer / "line-key")
        self.hand_over(self.owners_key.with_suffix(".pub"), self.installer)
        self.hand_over(self.installers_key.with_suffix(".pub"), self.owner)
        public = (self.installer / "owner-key.pub").read_text()
        (self.installer / "customers").write_text(f"owner@example.org {public}")
        # Where a run of the installer leaves anything.
        home = self.installer / "home"
        home.mkdir()
        self.installers_home = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "ANSIBLE_LOG_PATH": str(home / "ansible.log"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(home / "facts"),
            "ANSIBLE_RETRY_FILES_ENABLED": "1",
            "ANSIBLE_RETRY_FILES_SAVE_PATH": str(home / "retry"),
        }
        self.secrets = [
            self.master_key,
            self.connection_string,
            self.connection_string.partition("SharedAccessKey=")[2],
        ]
        self.secrets += self._authorizations()
        self.found: set[str] = set()

    def _authorizations(self):
        """Each one that an order can have sealed."""
        from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public, name_of
        from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive

        for line in (self.line.directory / "rack/ek-list.jsonl").read_text().splitlines():
            name = name_of(decode_public(json.loads(line)["endorsement_key"], "endorsement_key")).hex()
            yield from (
                derive(self.master_key, name, one, version) for one in ("owner", "lockout") for version in (1, 2)
            )

    def disks(self):
        """What an installer has at hand: his own files, and what was written and is in memory on each unit."""
        yield self.installer
        for name in UNITS:
            device = self.line.rack.device(name)
            yield device.upper
            yield from (device.files / volatile for volatile in ("run", "tmp", "dev/shm"))

    @staticmethod
    def _inventory(place, everywhere, hosts, of_devices):
        inventory = {"all": {"vars": everywhere}, "devices": {"hosts": hosts, "vars": of_devices}}
        (place / "inventory.yml").write_text(yaml.safe_dump(inventory))

    @staticmethod
    def hand_over(path, place):
        return shutil.copy(path, place / path.name)

    @staticmethod
    def command(place, playbook, *arguments, **said):
        values = place / "values.json"
        values.write_text(json.dumps(said))
        inventory = ["-i", str(place / "inventory.yml"), "-e", f"@{values}"]
        return ["ansible-playbook", *inventory, f"playbooks/{playbook}.yml", *arguments]

    def play(self, place, playbook, *arguments, environment=None, **said):
        command = self.command(place, playbook, *arguments, **said)
        done = self.line.command(*command, **(environment or {}))
        (place / "values.json").unlink()
        # A long message is wrapped anywhere.
        done.stdout, done.lines = " ".join(done.stdout.split()), done.stdout
        return done

    def order(self, number, units, *arguments, **said):
        listed = [json.loads(one) for one in (self.line.directory / "rack/ek-list.jsonl").read_text().splitlines()]
        known = {
            one["name"]: one for one in json.loads((self.line.directory / "rack/rack.json").read_text())["devices"]
        }
        meant = [
            {**one, "serial_number": known[name]["serial_number"]}
            for name, one in zip(sorted(known), listed)
            if name in units
        ]
        (self.owner / f"{number}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in meant))
        given = {
            "tpmfleet_work_order_number": number,
            "tpmfleet_work_order_dest": str(self.owner / f"{number}.age"),
            "tpmfleet_work_order_owner": "Example Devices",
            "tpmfleet_work_order_expires": "2037-01-31",
            "tpmfleet_work_order_list": str(self.owner / f"{number}.jsonl"),
            "tpmfleet_work_order_recipients": [(self.owner / "line-key.pub").read_text()],
            "tpmfleet_work_order_signing_key": str(self.owners_key),
        }
        return self.play(self.owner, "work_order", *arguments, **{**given, **said})

    def _line(self, numbers=(NUMBER, SECOND)):
        return {
            "tpmfleet_work_order": [str(self.installer / f"{number}.age") for number in numbers],
            "tpmfleet_work_order_key": str(self.installers_key),
            "tpmfleet_work_order_allowed_signers": str(self.installer / "customers"),
            "tpmfleet_station": "installers-line",
        }

    def install_until(self, moment, *arguments):
        """A run of the installer that is killed at *moment*."""
        command = self.command(self.installer, "software_install", *arguments, **self._line())
        with self.searching.Watch(self.secrets, self.disks) as watch:
            self.line.command_until(moment, *command, **self.installers_home)
        self.found |= watch.found

    def install(self, *arguments, numbers=(NUMBER, SECOND), callback="ansible.builtin.default", **said):
        given = self._line(numbers)
        environment = {**self.installers_home, "ANSIBLE_STDOUT_CALLBACK": callback}
        with self.searching.Watch(self.secrets, self.disks) as watch:
            step = ("software_install", *arguments)
            done = self.play(self.installer, *step, environment=environment, **{**given, **said})
        watch.look("output", done.stdout.encode())
        self.found |= watch.found
        return done

    def report(self, number=NUMBER):
        content = (self.installer / f"{number}.report").read_text()
        return json.loads(content.partition("-----END SSH SIGNATURE-----\n")[2])


@pytest.fixture(scope="module")
def firms(start_line, tmp_path_factory, searching):
    return Firms(start_line(4), tmp_path_factory.mktemp("firms"), searching)


def test_the_owner_takes_the_makers_list_in_and_writes_the_orders(firms):
    taken = firms.play(firms.owner, "ek_intake")
    assert taken.returncode == 0, taken.stdout
    for number, units in ((NUMBER, (FIRST, FAILS)), (SECOND, (OTHER,))):
        done = firms.order(number, units, "--check")
        assert done.returncode == 0 and not (firms.owner / f"{number}.age").exists(), done.stdout
        done = firms.order(number, units)
        assert done.returncode == 0 and f"Work order {number}: {len(units)} units" in done.stdout, done.stdout
        firms.hand_over(firms.owner / f"{number}.age", firms.installer)
    assert "changed=0" in firms.order(SECOND, (OTHER,)).stdout


def test_what_is_refused_is_refused_before_any_device_is_touched(firms):
    (firms.installer / "customers").rename(firms.installer / "no-customers")
    (firms.installer / "customers").write_text(
        f"line@example.org {firms.installers_key.with_suffix('.pub').read_text()}"
    )
    before = firms.line.seen()
    refused = firms.install()
    assert refused.returncode != 0 and "No device was touched" in refused.stdout, refused.stdout
    assert "Read the device" not in refused.stdout and not (firms.installer / "work-journal.sqlite").exists()
    assert firms.line.seen() == before
    (firms.installer / "no-customers").rename(firms.installer / "customers")


def test_a_check_of_the_line_changes_nothing(firms):
    before = firms.line.seen()
    done = firms.install("--check", "--limit", f"{FIRST},{OTHER}")
    assert done.returncode == 0, done.stdout
    assert firms.line.seen() == before and not list(firms.installer.glob("*.report"))


def test_a_unit_that_is_off_is_reported_where_the_inventory_says_which_it_is(firms):
    """Nobody else is there, so that nothing comes after the task in which it cannot be reached."""
    inventory = firms.installer / "off.json"
    off = {"ansible_port": 1, "tpmfleet_serial_number": "TF-000003"}
    inventory.write_text(json.dumps({"all": {"hosts": {OTHER: off}}}))
    done = firms.install("-i", str(inventory), "--limit", OTHER)
    assert done.returncode != 0 and "unreachable=1" in done.stdout, done.stdout
    [reported] = firms.report(SECOND)["units"]
    assert reported["state"] == "failed" and "Connection refused" in reported["reason"], reported
    [noted] = events(firms.installer / "work-journal.sqlite")
    assert (noted["state"], noted["reasons"], noted["order"]) == ("unreachable", [reported["reason"]], SECOND)
    assert firms.report(NUMBER)["units"] == []
    # The others on that line have no names of the owner's.
    inventory.unlink()


def test_a_station_that_is_killed_while_a_tpm_is_claimed_reports_nothing_that_was_not_done(firms):
    """It is run again by the next test, which ends as if nothing had happened."""
    chip = firms.line.rack.device(OTHER).tpm.state_dir / "swtpm" / "tpm2-00.permall"
    unclaimed = chip.read_bytes()
    before = firms.report(SECOND)
    firms.install_until(lambda: chip.read_bytes() != unclaimed, "--limit", OTHER)
    assert firms.report(SECOND) == before and not list(firms.installer.glob("*.new"))
    config = firms.line.rack.device(OTHER).files / "etc/tpmfleet-dps-client/config.json"
    assert not config.exists()


def test_the_line_works_from_two_orders_and_stops_a_unit_that_is_on_none(firms):
    done = firms.install("--limit", f"!{FAILS}")
    assert done.returncode != 0 and "is on none of the work orders" in done.stdout, done.stdout
    seen = firms.line.seen()
    assert [name for name, one in sorted(seen.items()) if one.owned] == [FIRST, OTHER]
    # It takes no other unit's place in the journal.
    with contextlib.closing(sqlite3.connect(firms.installer / "work-journal.sqlite")) as connection:
        assert [host for (host,) in connection.execute("SELECT host FROM devices ORDER BY host")] == [FIRST, OTHER]
    for number, unit in ((NUMBER, FIRST), (SECOND, OTHER)):
        [reported] = firms.report(number)["units"]
        assert reported["state"] == "done" and reported["station"] == "installers-line", reported
        done = {"ownership": "done", "possession": "verified", "dps_client": "done"}
        # The unit of the killed run went on with what it was told, and nobody heard how far it came.
        assert reported["outcome"] == done if unit == FIRST else set(reported["outcome"]) == set(done)
        assert reported["storage_root_key"] and reported["answer"]["answer"] and reported["endorsement_key_certificate"]
        config = json.loads((firms.line.rack.device(unit).files / "etc/tpmfleet-dps-client/config.json").read_text())
        assert config["id_scope"] == firms.id_scope


def test_a_second_run_verifies_and_reports_the_same(firms):
    before = [(firms.installer / f"{number}.report").read_bytes() for number in (NUMBER, SECOND)]
    done = firms.install("--limit", f"{FIRST},{OTHER}")
    assert done.returncode == 0 and "changed=1" not in done.stdout, done.stdout
    assert [(firms.installer / f"{number}.report").read_bytes() for number in (NUMBER, SECOND)] == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in firms.installer.glob("*.report"))
    assert (firms.installer / "work-journal.sqlite").stat().st_mode & 0o077 == 0


def attacked(firms, **settings):
    """The unit FAILS in an attacker's hands, as an inventory for the installer."""
    unit = firms.line.rack.device(FAILS).files
    (unit / ATTACKERS_PYTHON).write_text("#!/usr/bin/python3\n" + (HERE / "python_of_an_attacker.py").read_text())
    (unit / ATTACKERS_PYTHON).chmod(0o755)
    (unit / "etc/attacker.json").write_text(json.dumps(settings))
    inventory = firms.installer / "attacked.json"
    python = {"ansible_python_interpreter": f"/{ATTACKERS_PYTHON}"}
    inventory.write_text(json.dumps({"all": {"hosts": {FAILS: python}}}))
    return ["-i", str(inventory), "--limit", FAILS]


def test_a_unit_that_proves_nothing_is_for_its_owner_to_disable_which_is_said_first_and_reported(firms):
    """It cannot open its own challenge; the line has no right at the DPS."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.age_file import Reader

    whole = Reader(str(firms.installers_key)).decrypted((firms.installer / f"{NUMBER}.age").read_bytes())
    units = {
        one["serial_number"]: one for one in json.loads(whole.partition(b"-----END SSH SIGNATURE-----\n")[2])["units"]
    }
    credentials = [units[name]["challenge"]["credential"] for name in ("TF-000002", "TF-000001")]
    done = firms.install(*attacked(firms, incoming=[credentials]))
    first = f"{FAILS}: its enrollment can be disabled by the owner of the work order {NUMBER} alone: tell him first"
    assert done.returncode != 0 and first in done.stdout, done.stdout
    [failed] = [one for one in firms.report()["units"] if one["state"] == "failed"]
    assert failed["not_proven"] is True and "does not hold the endorsement key" in failed["reason"]
    assert "disabled" not in failed["reason"] and FAILS not in failed["reason"]
    [noted] = [one for one in events(firms.installer / "work-journal.sqlite") if one.get("not_proven")]
    assert noted["state"] == "failed" and noted["reasons"] == [failed["reason"]]


def test_a_unit_that_did_not_prove_itself_is_reported_as_that_until_it_answers(firms):
    """Pulled, as the operator is told, it can then not be reached."""
    inventory = firms.installer / "off.json"
    inventory.write_text(
        json.dumps({"all": {"hosts": {FAILS: {"ansible_port": 1, "tpmfleet_serial_number": "TF-000002"}}}})
    )
    before = (firms.installer / f"{NUMBER}.report").read_bytes()
    done = firms.install("-i", str(inventory), "--limit", FAILS)
    assert done.returncode != 0 and "unreachable=1" in done.stdout, done.stdout
    assert events(firms.installer / "work-journal.sqlite")[-1]["state"] == "unreachable"
    assert (firms.installer / f"{NUMBER}.report").read_bytes() == before


def test_a_unit_that_fails_is_reported_with_its_reason_also_where_it_is_the_only_one(firms):
    """Its TPM has answered before that, which undoes that it had not."""
    claimed = firms.line.tool(FAILS, "tpm2_changeauth", "-c", "owner", "of-a-stranger")
    assert claimed.returncode == 0, claimed.stdout
    done = firms.install("--limit", FAILS)
    assert done.returncode != 0 and "This TPM has an owner" in done.stdout, done.stdout
    failed = [one for one in firms.report()["units"] if one["state"] == "failed"]
    assert len(failed) == 1 and "This TPM has an owner" in failed[0]["reason"], done.stdout
    assert failed[0]["answer"]["answer"] and "not_proven" not in failed[0]
    noted = events(firms.installer / "work-journal.sqlite")[-1]
    assert noted["state"] == "failed" and noted["proven"] and noted["answer"] == failed[0]["answer"]


def events(ledger):
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        return [json.loads(what) for (what,) in connection.execute("SELECT what FROM events ORDER BY id")]


def test_the_installers_machine_has_none_of_the_owners_secrets(firms):
    """Journal, reports, log, facts, what a failed run leaves, and the units; while runs lasted and now."""
    left = {path.relative_to(firms.installer).parts[0] for path in firms.installer.rglob("*") if path.is_file()}
    assert {"work-journal.sqlite", f"{NUMBER}.report", "home"} <= left, left
    log = (firms.installer / "home/ansible.log").read_text()
    assert "This TPM has an owner" in log and "does not hold the endorsement key" in log
    watch = firms.searching.Watch(firms.secrets, list)
    for place in firms.disks():
        watch.search(place, everything=True)
    assert firms.found | watch.found == set()
    # Where they are, the search finds them: in the TPMs that were claimed.
    chips = [firms.line.rack.device(name).tpm.state_dir for name in (FIRST, OTHER)]
    for place in chips:
        watch.search(place, everything=True)
    assert watch.found == {f"file: {place}/swtpm/tpm2-00.permall" for place in chips}


def test_no_process_of_the_installer_shows_a_secret(firms, monkeypatch):
    """Their arguments and environments, for as long as a run lasts."""
    secrets = [one.encode() for one in firms.secrets]
    shown, seen, done = set(), set(), threading.Event()

    def watch():
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    environment = (process / "environ").read_bytes()
                    # What the run started, here and on the devices that it reached.
                    if b"TPMFLEET_INSTALLER_RUN=" in environment:
                        told = (process / "cmdline").read_bytes()
                        seen.add(process.name)
                        if any(one in told or one in environment for one in secrets):
                            shown.add(told)
            time.sleep(0.02)

    monkeypatch.setenv("TPMFLEET_INSTALLER_RUN", "1")
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert firms.install("--limit", f"{FIRST},{OTHER}").returncode == 0
    finally:
        done.set()
        watching.join()
    assert len(seen) > 5 and shown == set()


def take_in(firms, report, *arguments, **said):
    # Whose key signs it the order has said.
    return firms.play(firms.owner, "work_report", *arguments, **{"tpmfleet_work_report": str(report), **said})


def enrollments(firms):
    return {name for name, one in firms.line.seen().items() if one.enrolled}


def records(firms):
    with sqlite3.connect(firms.ledger) as connection:
        found = [json.loads(one) for (one,) in connection.execute("SELECT record FROM devices ORDER BY id")]
    return {one["serial_number"]: one for one in found}


def states(firms):
    return sorted(one["work_order"]["state"] for one in records(firms).values())


def test_a_report_that_was_changed_on_its_way_is_refused_and_nothing_is_taken(firms):
    report = firms.hand_over(firms.installer / f"{NUMBER}.report", firms.owner)
    content = report.read_bytes()
    before = records(firms)
    for spoilt in (
        content.replace(b'"failed"', b'"done"'),
        content.replace(b'"done"', b'"failed"'),
        content[:-2],
        content[content.index(b"{") :],
        content.replace(NUMBER.encode(), SECOND.encode()),
    ):
        assert spoilt != content
        report.write_bytes(spoilt)
        done = take_in(firms, report)
        assert done.returncode != 0 and "Nothing was taken in" in done.stdout, done.stdout
    report.write_bytes(content)
    assert records(firms) == before and enrollments(firms) == set()


def test_the_owner_takes_the_report_in_and_enrolls_what_is_proven(firms):
    report = firms.owner / f"{NUMBER}.report"
    planned = take_in(firms, report, "--check")
    assert planned.returncode == 0 and enrollments(firms) == set(), planned.stdout
    assert states(firms) == ["ordered"] * 3
    done = take_in(firms, report)
    assert done.returncode == 0 and "1 taken in, 0 known, 1 failed there, 0 missing" in done.stdout, done.stdout
    assert "Failed: TF-000002" in done.stdout and "This TPM has an owner" in done.stdout
    assert enrollments(firms) == {FIRST} and states(firms) == ["done", "failed", "ordered"]
    taken = records(firms)["TF-000001"]
    assert taken["endorsement_key_proven"] and taken["storage_root_key_name"]
    assert taken["steps"]["software_install"]["outcome"]["enrollment"] == "done"
    again = take_in(firms, report)
    assert again.returncode == 0 and "0 taken in, 1 known" in again.stdout and "changed=0" in again.stdout, again.stdout


def test_a_unit_that_was_mended_comes_with_the_next_report(firms):
    mended = firms.line.tool(FAILS, "tpm2_changeauth", "-c", "owner", "-p", "of-a-stranger")
    assert mended.returncode == 0, mended.stdout
    shown = [['"owner_auth_set": true', '"owner_auth_set": false']]
    done = firms.install(*attacked(firms, outgoing=shown))
    named = f"{FAILS}: it shows owner_auth empty, which is not the ownership profile fleet that the work order {NUMBER}"
    assert done.returncode != 0 and named in done.stdout, done.stdout
    [failed] = [one for one in firms.report()["units"] if one["state"] == "failed"]
    assert "not the ownership profile fleet" in failed["reason"] and "not_proven" not in failed
    done = firms.install("--limit", FAILS, callback="tpmfleet.azure_dps.line")
    assert done.returncode == 0 and f"WRITTEN {firms.installer}/{NUMBER}.report" in done.stdout, done.stdout
    assert f"NEXT send the report on each order, in {firms.installer}, to the owner" in done.stdout, done.stdout
    first = (firms.owner / f"{NUMBER}.report").read_bytes()
    report = firms.hand_over(firms.installer / f"{NUMBER}.report", firms.owner)
    done = take_in(firms, report)
    assert done.returncode == 0 and "1 taken in, 1 known, 0 failed there" in done.stdout, done.stdout
    assert enrollments(firms) == {FIRST, FAILS}
    # An older one that comes later takes nothing back.
    report.write_bytes(first)
    assert take_in(firms, report).returncode == 0 and states(firms) == ["done", "done", "ordered"]


def test_an_answer_to_another_order_is_refused_by_name(firms):
    """By a line that signs what it likes."""
    report = firms.report(SECOND)
    [unit] = report["units"]
    unit["answer"] = firms.report(NUMBER)["units"][0]["answer"]
    text = firms.owner / "forged.json"
    text.write_text(json.dumps(report))
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", firms.installers_key, "-n", "tpmfleet-work-report", text]
    subprocess.run(sign, check=True)
    forged = firms.owner / "forged.report"
    forged.write_text(Path(f"{text}.sig").read_text() + text.read_text())
    # As step 2 has enrolled it, before anybody had proven anything.
    enrolled = firms.line.play("tpm_install", "-e", f"tpmfleet_ledger={firms.ledger}", "--limit", OTHER)
    assert enrolled.code == 0 and enrollments(firms) == {FIRST, FAILS, OTHER}, enrolled.printed
    told = take_in(firms, forged, tpmfleet_dps_connection_string="HostName=x.example;SharedAccessKeyName=a")
    assert told.returncode != 0, told.stdout
    # Where it cannot be done, it is the first thing that is said.
    first = f"TF-000003 ({OTHER}): disable its enrollment"
    assert first in told.stdout and "of which could not be seen whether it is enabled" in told.stdout, told.stdout
    done = take_in(firms, forged)
    assert done.returncode != 0 and "TF-000003" in done.stdout, done.stdout
    assert "the answer is not that of its TPM" in done.stdout and "was disabled." in done.stdout, done.stdout
    assert states(firms) == ["done", "done", "ordered"]
    place = records(firms)["TF-000003"]["places"][0]
    assert place["disabled"] and "Its enrollment" not in take_in(firms, forged).stdout


def test_a_revoked_order_is_taken_in_no_more_and_refused_at_the_line(firms):
    done = firms.order(SECOND, (OTHER,), tpmfleet_work_order_state="revoked")
    assert done.returncode == 0 and "1 revoked" in done.stdout, done.stdout
    report = firms.hand_over(firms.installer / f"{SECOND}.report", firms.owner)
    done = take_in(firms, report)
    assert done.returncode != 0 and "was revoked on" in done.stdout, done.stdout
    assert states(firms) == ["done", "done", "revoked"]
    firms.hand_over(firms.owner / f"{SECOND}.age.revoked", firms.installer)
    # What was done before is reported all the same.
    report = firms.installer / f"{SECOND}.report"
    before = report.read_bytes()
    report.unlink()
    refused = firms.install("--limit", OTHER)
    assert refused.returncode != 0 and "was revoked by its owner" in refused.stdout, refused.stdout
    assert "Read the device" not in refused.stdout and report.read_bytes() == before


def test_what_a_revoked_line_was_given_is_not_used_again(firms):
    """The owner has the unit at hand now, which that line had claimed."""
    ours = ["-e", f"tpmfleet_ledger={firms.ledger}", "--limit", OTHER]
    refused = firms.line.play("software_install", *ours)
    assert refused.bad == {OTHER} and "that line has the authorizations of key version 1" in refused.printed
    rotated = firms.line.play(
        "rotate_ownership", *ours, "-e", "tpmfleet_key_version=2", "-e", "tpmfleet_previous_key_version=1"
    )
    assert rotated.code == 0, rotated.printed
    done = firms.line.play("software_install", *ours, "-e", "tpmfleet_key_version=2")
    assert done.code == 0 and enrollments(firms) == {FIRST, FAILS, OTHER}, done.printed


def test_a_line_does_by_a_later_order_what_was_rotated_since(firms):
    """Its journal has the key version of the order before: nobody tells a line of a rotation."""
    done = firms.order(THIRD, (OTHER,), tpmfleet_key_version=2)
    assert done.returncode == 0, done.stdout
    firms.hand_over(firms.owner / f"{THIRD}.age", firms.installer)
    done = firms.install("--limit", OTHER, numbers=(THIRD,))
    assert done.returncode == 0, done.stdout
    [reported] = firms.report(THIRD)["units"]
    assert reported["state"] == "done" and reported["ownership"]["key_version"] == 2, reported
    done = take_in(firms, firms.hand_over(firms.installer / f"{THIRD}.report", firms.owner))
    assert done.returncode == 0 and "1 taken in" in done.stdout, done.stdout


def test_the_first_units_provision_themselves(firms):
    done = firms.line.play("field_activation", "-e", f"tpmfleet_ledger={firms.ledger}", "--limit", f"{FIRST},{FAILS}")
    assert done.code == 0, done.printed
