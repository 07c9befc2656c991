# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The field client on a simulated device: placed over SSH, updated, taken back, and from then on without Ansible.

The tests stand in the order of a device's life and share the device.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time

import pytest
import tomllib

PROGRAM = "usr/lib/tpmfleet-dps-client/tpmfleet-dps-client.pyz"
CONFIGURATION = "etc/tpmfleet-dps-client/config.json"
STATE = "var/lib/tpmfleet-dps-client"
ENDORSEMENT_AUTH, OWNER_AUTH = "secret-of-one-hierarchy", "secret-of-the-other"
PROXY_AUTH = "device:secret-of-the-proxy"


class Unit:
    """One simulated device, a station that runs Ansible on it, and the service that it is enrolled with."""

    def __init__(self, make_station, directory, rack, dps):
        self.dps, self.service = dps, dps.where
        (described,) = json.loads((rack.directory / "rack.json").read_text())["devices"]
        self.device = rack.device(described["name"])
        self.station = make_station(
            directory,
            described,
            ansible_python_interpreter="/usr/bin/python3",
            tpmfleet_tcti=described["tcti"],
            tpmfleet_dps_id_scope=self.service["id_scope"],
            tpmfleet_dps_global_endpoint=self.service["endpoint"],
            tpmfleet_dps_ca_file=self.service["ca_file"],
            tpmfleet_dps_client_first_attempt_spread=0,
            dps_client_registration_id="unit-of-the-field",
            dps_client_refused_delay=3,
            dps_client_ask_hub=False,
        )

    def ansible(self, task, *arguments, succeeds=True):
        """Runs a play of one *task*; what was printed."""
        return self.station.play([task], *arguments, succeeds=succeeds, ANSIBLE_CALLBACK_RESULT_FORMAT="json")

    def place(self, *arguments, succeeds=True, **variables):
        """Runs the role."""
        extra = ["-e", json.dumps(variables)] if variables else []
        role = {"ansible.builtin.import_role": {"name": "tpmfleet.azure_dps.dps_client"}}
        return self.ansible(role, *arguments, *extra, succeeds=succeeds)

    def register(self, *arguments, **options):
        """Runs the module dps_register."""
        return self.ansible({"tpmfleet.azure_dps.dps_register": options}, *arguments)

    def console(self, *command):
        """Runs a command past Ansible: (exit code, what it said)."""
        done = self.device.execute(list(command))
        return done.returncode, done.stdout

    def change_auth(self, hierarchy, *arguments):
        """What ownership may have done, by tpm2-tools."""
        subprocess.run(["tpm2_changeauth", "-T", self.device.tpm.tcti, "-c", hierarchy, *arguments], check=True)

    def content(self, path):
        """A file of the device."""
        return (self.device.files / path).read_bytes()

    def picture(self):
        """Everything the client is on this device, with modes, owners and times of what is in a file."""
        where = "/usr/lib /etc /var/lib /usr/bin -path '*tpmfleet-dps-client*'"
        _code, said = self.console("/bin/sh", "-c", f"find {where} -printf '%p %M %u %g %s %T@ %l\\n' | sort")
        return said + self.console("/bin/sh", "-c", "getent passwd tpmfleet-dps-client; id tpmfleet-dps-client 2>&1")[1]

    def registration(self):
        """What the service holds."""
        return self.dps.call("GET", "/registrations/unit-of-the-field")

    def status(self):
        """What the client says on the device."""
        return json.loads(self.console("tpmfleet-dps-client", "status", "--json")[1])

    def becomes(self, state, words="", seconds=60):
        """Waits until the client says *state*, with *words*."""
        deadline = time.monotonic() + seconds
        while (found := self.status())["state"] != state or words not in found["message"]:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found


@pytest.fixture(scope="module")
def unit(tmp_path_factory, make_station, plain_dps):
    """The device, on which there is nothing yet."""
    from tpm_rack.rack import Rack

    rack = Rack(tmp_path_factory.mktemp("field") / "rack")
    try:
        rack.up(1)
        yield Unit(make_station, tmp_path_factory.mktemp("station"), rack, plain_dps)
    finally:
        rack.down()


def test_check_mode_tells_what_comes_and_does_nothing(unit):
    before = unit.picture()
    printed = unit.place("--check", "--diff")
    assert "changed=1" in printed
    assert '+  "id_scope"' in printed
    assert unit.picture() == before


def test_the_client_is_placed_in_one_task_as_a_user_of_its_own(unit):
    printed = unit.place("-v")
    assert "changed=1" in printed
    assert '"selftest": {' in printed
    code, said = unit.console("/usr/bin/stat", "-c", "%a %U", f"/{STATE}", f"/{PROGRAM}", f"/{CONFIGURATION}")
    assert (code, said.split()) == (0, ["700", "tpmfleet-dps-client", "755", "root", "644", "root"])
    assert "(tss)" in unit.console("id", "tpmfleet-dps-client")[1]
    assert unit.console("systemctl", "is-enabled", "tpmfleet-dps-client.service")[0] == 0


def test_a_second_run_changes_nothing(unit):
    before = unit.picture()
    assert "changed=0" in unit.place()
    assert unit.picture() == before


def test_a_change_of_the_configuration_is_told_and_made(unit):
    planned = unit.place("--check", "--diff", "-v", dps_client_backoff_cap=600)
    printed = unit.place("--diff", "-v", dps_client_backoff_cap=600)
    for said in (planned, printed):
        assert '+  "backoff_cap": 600' in said
        assert '"changes": ["configuration"]' in said
    assert json.loads(unit.content(CONFIGURATION))["backoff_cap"] == 600
    assert '"changes": ["configuration"]' in unit.place("-v")


@pytest.mark.parametrize(
    "broken",
    [
        {"dps_client_interpreter": "/bin/false"},
        {"dps_client_tcti": "swtpm:host=127.0.0.1,port=9"},
        {"dps_client_endorsement_auth": "the-wrong-one"},
    ],
    ids=["program", "tcti", "authorization"],
)
def test_an_update_that_fails_its_selftest_is_taken_back(unit, broken):
    if "dps_client_endorsement_auth" in broken:
        unit.change_auth("e", "right")
    before = {path: unit.content(path) for path in (PROGRAM, CONFIGURATION)}
    picture = [line.split()[0] for line in unit.picture().splitlines()]
    printed = unit.place(succeeds=False, **broken)
    if "dps_client_endorsement_auth" in broken:
        unit.change_auth("e", "-p", "right")
    assert "selftest failed" in printed
    assert "put back as it was" in printed
    assert "the-wrong-one" not in printed
    assert {path: unit.content(path) for path in before} == before
    assert [line.split()[0] for line in unit.picture().splitlines()] == picture
    assert unit.console("tpmfleet-dps-client", "selftest")[0] == 0


def test_secrets_lie_with_the_client_alone_and_are_never_shown(unit):
    """Every word that Ansible can be brought to say, and every file that others may read."""
    secrets = {
        "dps_client_endorsement_auth": ENDORSEMENT_AUTH,
        "dps_client_owner_auth": OWNER_AUTH,
        "dps_client_proxy_auth": PROXY_AUTH,
    }
    others = {"dps_client_proxy": "http://127.0.0.1:9", "dps_client_persistent_handle": "0x81000100"}
    unit.change_auth("e", ENDORSEMENT_AUTH)
    unit.change_auth("o", OWNER_AUTH)
    printed = unit.place("-vvv", "--diff", **secrets, **others)
    unit.change_auth("e", "-p", ENDORSEMENT_AUTH)
    unit.change_auth("o", "-p", OWNER_AUTH)
    assert printed.count("(a secret)") >= len(secrets)
    assert not [secret for secret in secrets.values() if secret in printed]
    code, said = unit.console("/bin/sh", "-c", "stat -c '%a %U' /etc/tpmfleet-dps-client/*-auth")
    assert (code, set(said.splitlines())) == (0, {"600 tpmfleet-dps-client"})
    assert "secret" not in unit.content(CONFIGURATION).decode()
    unit.place()
    assert unit.console("/bin/sh", "-c", "ls /etc/tpmfleet-dps-client/*-auth")[0] != 0


def test_a_device_that_is_not_enrolled_waits_and_an_update_reaches_it(unit):
    """At power-up the client starts by itself; it says in words what is wrong, and restarts with what is new."""
    unit.device.power_cycle()
    unit.becomes("refused", "not enrolled")
    planned = unit.place("--check", "-v", dps_client_backoff_cap=700)
    printed = unit.place("-v", dps_client_backoff_cap=700)
    for said in (planned, printed):
        assert '"changes": ["configuration", "restarted"]' in said
    assert unit.console("systemctl", "is-active", "tpmfleet-dps-client.service")[0] == 0


def test_the_device_registers_by_itself_once_it_is_enrolled(unit):
    unit.dps.enroll("unit-of-the-field", unit.device.tpm)
    found = unit.becomes("assigned")
    held = unit.registration()
    assert (held["status"], held["assignedHub"]) == ("assigned", found["assignment"]["assigned_hub"])
    journal = unit.console("/bin/sh", "-c", "cat /var/log/journal/tpmfleet-dps-client.service.log")[1]
    assert "Assigned to" in journal


def test_the_next_power_up_has_nothing_to_do(unit):
    before, held = unit.content(f"{STATE}/assignment.json"), unit.registration()
    unit.device.power_cycle()
    unit.becomes("assigned", "nothing to do")
    assert (unit.content(f"{STATE}/assignment.json"), unit.registration()) == (before, held)


def test_a_line_sees_the_assignment_and_ships_the_unit_unassigned(unit):
    assert "changed=0" in unit.register()
    assert "changed=0" in unit.register("--check")
    placed = unit.content(CONFIGURATION)
    (unit.device.files / CONFIGURATION).write_bytes(placed.replace(unit.service["id_scope"].encode(), b"0neOTHER"))
    assert "changed=1" in unit.register("--check")
    (unit.device.files / CONFIGURATION).write_bytes(placed)
    assert "changed=1" in unit.register("--check", state="absent")
    assert unit.status()["assignment"]
    assert "changed=1" in unit.register(state="absent")
    assert unit.console("tpmfleet-dps-client", "status")[0] == 75
    assert "changed=0" in unit.register(state="absent")
    assert "changed=1" in unit.register("--check")
    printed = unit.register("--diff", "-v")
    assert "changed=1" in printed
    assert '"device_id": "unit-of-the-field"' in printed
    before = unit.registration()
    assert "changed=1" in unit.register(anew=True)
    assert unit.registration()["etag"] != before["etag"]
    assert "changed=1" in unit.register(state="absent")


def test_power_that_fails_again_and_again(unit):
    """Cut at any moment of the first seconds; the device ends assigned, as itself, with a key that its hub takes."""
    chance = random.Random(os.environ.get("TPMFLEET_SEED", "5"))
    for _cut in range(6):
        unit.device.power_cycle()
        time.sleep(chance.uniform(0, 2.5))
        if chance.random() < 0.4:
            unit.console("tpmfleet-dps-client", "forget")
    unit.console("rm", "-f", f"/{STATE}/status.json")
    unit.device.power_cycle()
    unit.becomes("assigned")
    # The lab's TPM has no resource manager: what ran at power-up may still have its keys in it.
    deadline = time.monotonic() + 20
    while (said := unit.console("tpmfleet-dps-client", "token"))[0] and time.monotonic() < deadline:
        time.sleep(0.5)
    assert unit.dps.hub_accepts(said[1].strip().splitlines()[-1], "unit-of-the-field")
    left = sorted(path.name for path in (unit.device.files / STATE).iterdir())
    assert left == ["assignment.json", "lock", "status.json", "time-floor"]


def test_what_was_placed_is_removed(unit):
    remove = {"tpmfleet.azure_dps.dps_client": {"state": "absent", "purge": True}}
    before = unit.picture()
    assert "changed=1" in unit.ansible(remove, "--check")
    assert unit.picture() == before
    assert "changed=1" in unit.ansible(remove)
    assert "tpmfleet-dps-client.service" not in unit.picture()
    assert unit.console("getent", "passwd", "tpmfleet-dps-client")[0] != 0
    assert "changed=0" in unit.ansible(remove)


def test_a_first_installation_that_fails_leaves_nothing(unit):
    before = unit.picture()
    assert "put back as it was" in unit.place(succeeds=False, dps_client_tcti="swtpm:host=127.0.0.1,port=9")
    assert unit.picture() == before


# Does what the real one does with its file: checks it, writes a configuration a service, and says so.
AZIOTCTL = """#!/bin/sh
[ "$*" = "config apply" ] || exit 2
echo applied >> /var/log/aziotctl
[ ! -e /etc/aziot/broken ] || { echo "something is wrong with it" >&2; exit 1; }
for service in keyd certd identityd tpmd; do
    mkdir -p /etc/aziot/$service/config.d
    cp /etc/aziot/config.toml /etc/aziot/$service/config.d/00-super.toml
done
"""


def applied(unit):
    """How often the tool was run."""
    return unit.console("cat", "/var/log/aziotctl")[1].count("applied\n")


def test_the_client_of_azure_is_configured_and_its_own_tool_applies_it(unit):
    aziot = {"dps_client_flavour": "aziot", "dps_client_owner_auth": 'owner "\\ä😀'}
    aziot["dps_client_endorsement_auth"] = ENDORSEMENT_AUTH
    assert "this image does not have" in unit.place(succeeds=False, **aziot)
    unit.console("mkdir", "-p", "/etc/aziot")
    planned = unit.place("--check", "--diff", "-vv", **aziot)
    printed = unit.place("--diff", "-vv", **aziot)
    assert "changed=1" in planned and "changed=1" in printed
    written = tomllib.loads(unit.content("etc/aziot/config.toml").decode())
    assert written == {
        "provisioning": {
            "source": "dps",
            "global_endpoint": unit.service["endpoint"],
            "id_scope": unit.service["id_scope"],
            "attestation": {"method": "tpm", "registration_id": "unit-of-the-field"},
        },
        "tpm": {
            "tcti": unit.device.tpm.tcti,
            "hierarchy_authorization": {
                "endorsement": aziot["dps_client_endorsement_auth"],
                "owner": aziot["dps_client_owner_auth"],
            },
        },
    }
    assert unit.console("stat", "-c", "%a %U", "/etc/aziot/config.toml")[1].split() == ["600", "root"]
    for said in (planned, printed):
        assert ENDORSEMENT_AUTH not in said
    assert "changed=0" in unit.place(**aziot)
    # The tool comes later, with the image of another day.
    tool = unit.device.files / "usr" / "bin" / "aziotctl"
    tool.write_text(AZIOTCTL)
    tool.chmod(0o755)
    assert "changed=1" in unit.place("--check", **aziot)
    assert not applied(unit)
    assert "changed=1" in unit.place(**aziot)
    assert "changed=0" in unit.place(**aziot)
    assert applied(unit) == 1


def test_an_apply_that_failed_is_made_up_for(unit):
    aziot = {"dps_client_flavour": "aziot", "dps_client_owner_auth": "another"}
    aziot["dps_client_aziot_auth_key_index"] = "0x000200"
    unit.console("touch", "/etc/aziot/broken")
    assert "something is wrong with it" in unit.place(succeeds=False, **aziot)
    unit.console("rm", "/etc/aziot/broken")
    assert "changed=1" in unit.place(**aziot)
    assert "changed=0" in unit.place(**aziot)
    assert applied(unit) == 3
    written = tomllib.loads(unit.content("etc/aziot/tpmd/config.d/00-super.toml").decode())["tpm"]
    assert written["auth_key_index"] == "0x000200"


@pytest.mark.parametrize(
    "impossible",
    [{"dps_client_owner_auth": ""}, {"dps_client_owner_auth": "some", "dps_client_registration_id": ""}],
    ids=["owner authorization", "registration ID"],
)
def test_an_impossible_pair_is_refused_before_anything_is_changed(unit, impossible):
    before = unit.content("etc/aziot/config.toml")
    printed = unit.place(succeeds=False, dps_client_flavour="aziot", **impossible)
    assert "Nothing was changed" in printed
    assert unit.content("etc/aziot/config.toml") == before
