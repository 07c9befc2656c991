# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proof of possession over SSH, on devices that are what they say and on devices in an attacker's hands.

docs/trust.md names these tests: what an attacker does, what stops it, which test shows it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent
HERE = Path(__file__).parent
ATTACKERS_PYTHON = "usr/local/bin/attackers-python"
ENDORSEMENT_AUTH = "endorsement-authorization-of-32."
FIRST, SECOND, FRESH = "rack1-slot01", "rack1-slot02", "rack1-slot03"

# Notes what the controller drew at random, which is all that is secret here.
RECORDER = """\
import os, secrets
import tempfile

draw = secrets.token_bytes


def token_bytes(*arguments):
    drawn = draw(*arguments)
    with open(os.environ["DRAWN"], "a") as drawn_file:
        drawn_file.write(drawn.hex() + "\\n")
    return drawn


secrets.token_bytes = token_bytes
"""


class Line:
    """A rack of three: two devices whose TPMs are claimed, and a fresh one."""

    def __init__(self, rack) -> None:
        self.rack = rack
        described = json.loads((rack.directory / "rack.json").read_text())["devices"]
        self.described = {one["name"]: one for one in described}
        self.keys: dict[str, tuple[str, str]] = {}

    def tcti(self, name: str) -> str:
        """How the TPM of a device is reached."""
        return self.described[name]["tcti"]

    def files(self, name: str) -> Path:
        """The root of a device's file system."""
        return self.rack.device(name).files

    def written(self, name: str) -> Path:
        """What was ever written on the device and is still there."""
        return self.rack.device(name).upper

    def attack(self, name: str, **settings: object) -> None:
        """Puts the device into an attacker's hands."""
        program = self.files(name) / ATTACKERS_PYTHON
        program.write_text("#!/usr/bin/python3\n" + (HERE / "python_of_an_attacker.py").read_text())
        program.chmod(0o755)
        (self.files(name) / "etc/attacker.json").write_text(json.dumps(settings))

    def hosts(self, *names: str) -> dict[str, dict]:
        """The inventory's variables of devices; one in an attacker's hands runs the attacker's Python."""
        hosts = {}
        for name in names:
            ssh = self.described[name]["ssh"]
            attacked = (self.files(name) / ATTACKERS_PYTHON).exists()
            hosts[name] = {
                "ansible_host": ssh["host"],
                "ansible_port": ssh["port"],
                "ansible_user": ssh["user"],
                "ansible_ssh_private_key_file": ssh["private_key_file"],
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={ssh['known_hosts_file']}",
                "ansible_python_interpreter": f"/{ATTACKERS_PYTHON}" if attacked else "/usr/bin/python3",
                "tpmfleet_tcti": self.tcti(name),
                "tpmfleet_serial_number": self.described[name]["serial_number"],
            }
        return hosts

    def asking(self, name: str = FIRST, *, endorsement_key: str = "", storage_root_key: str = "", **options) -> dict:
        """Options of the module that ask *name* for its own keys, or those of the devices named."""
        return {
            "tcti": self.tcti(name),
            "endorsement_key": self.keys[endorsement_key or name][0],
            "storage_root_key": self.keys[storage_root_key or name][1],
            **options,
        }


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """The rack, with the keys of each device."""
    from tpm_rack.rack import Rack

    rack = Rack(tmp_path_factory.mktemp("possession") / "rack")
    try:
        rack.up(3, hidden=[tmp_path_factory.getbasetemp()])
        line = Line(rack)
        for name in line.described:
            line.keys[name] = primary_keys(line.tcti(name), persist=name != FRESH)
        yield line
    finally:
        rack.down()


def primary_keys(tcti: str, *, persist: bool) -> tuple[str, str]:
    """The endorsement and the storage root key of a fresh TPM, in base64, persisted where clients look for them."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
    from tpm2_pytss import ESAPI
    from tpm2_pytss.constants import ESYS_TR

    with ESAPI(tcti) as esys:
        return (
            primary_key(esys, templates.ek_template(), ESYS_TR.ENDORSEMENT, templates.EK_HANDLE if persist else None),
            primary_key(esys, templates.srk_template(), ESYS_TR.OWNER, templates.SRK_HANDLE if persist else None),
        )


def primary_key(esys, template, hierarchy, persistent: int | None) -> str:
    """The key of *template*, in base64, left at the handle *persistent* where there is one."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

    handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
    if persistent is not None:
        esys.evict_control(ESYS_TR.OWNER, handle, persistent)
    esys.flush_context(handle)
    return base64.b64encode(public.marshal()).decode()


def persist_endorsement_key(tcti: str, template: str) -> None:
    """Leaves the key of *template*, and no other one, where clients look for it."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
    from tpm2_pytss import ESAPI
    from tpm2_pytss.constants import ESYS_TR

    subprocess.run(["tpm2_evictcontrol", "-T", tcti, "-c", hex(templates.EK_HANDLE)], capture_output=True, check=False)
    with ESAPI(tcti) as esys:
        primary_key(esys, templates.ek_template(template), ESYS_TR.ENDORSEMENT, templates.EK_HANDLE)


@pytest.fixture(autouse=True)
def nobody_attacks(line):
    """After each test the devices are in honest hands."""
    yield
    for name in line.described:
        for left in (ATTACKERS_PYTHON, "etc/attacker.json"):
            (line.files(name) / left).unlink(missing_ok=True)


class Run:
    """ansible-playbook as people run it, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = ""

    def playbook(self, hosts: dict[str, dict], play: dict | str, *arguments: str, **environment: str) -> int:
        """Runs *play*, or the playbook of that name; its output is in ``output``, the return code is returned."""
        (self.directory / "hosts.json").write_text(json.dumps({"devices": {"hosts": hosts}}))
        if isinstance(play, dict):
            (self.directory / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, **play}]))
            play = "play.yml"
        done = subprocess.run(
            [str(TOOLS / "ansible-playbook"), "-i", "hosts.json", play, *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.output = done.stdout
        return done.returncode

    def module(self, hosts: dict[str, dict], options: dict, *arguments: str, **how: object) -> dict:
        """The result of a tpm_possession task on the one of *hosts*; *how* are keywords of the task and environment.

        It is read from what is printed, as a task that kept it would double the time that a test takes.
        """
        environment = {name: str(how.pop(name)) for name in list(how) if name.isupper()}
        arguments = arguments if any(one.startswith("-v") for one in arguments) else (*arguments, "-v")
        task = {"tpmfleet.azure_dps.tpm_possession": options, **how}
        self.playbook(hosts, {"tasks": [task]}, *arguments, **environment)
        printed = re.search(rf"^(ok|changed|skipping|fatal): \[{next(iter(hosts))}\].*? => ", self.output, re.MULTILINE)
        assert printed, self.output
        result, _end = json.JSONDecoder().raw_decode(self.output, printed.end())
        return {"failed": printed[1] == "fatal", "skipped": printed[1] == "skipping", **result}


@pytest.fixture
def run(tmp_path):
    """Runs Ansible."""
    return Run(tmp_path)


def sha256(public: str) -> str:
    """Of a TPM2B_PUBLIC in base64."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()


def name_of(public: str) -> str:
    """The TPM name of a TPM2B_PUBLIC in base64 (TPM 2.0 part 1, 16)."""
    return "000b" + hashlib.sha256(base64.b64decode(public)[2:]).hexdigest()


def assert_refused(result: dict, words: str, name: str = FIRST) -> None:
    """The task failed, names the device and says why."""
    assert result["failed"] is True
    assert result["changed"] is False
    assert not result.get("proven")
    assert result["msg"].startswith(f"{name}: ")
    assert words in result["msg"]


# Honest devices


def test_a_device_proves_its_keys_in_one_round_trip(line, run):
    result = run.module(line.hosts(FIRST), line.asking(), "-vvv")
    endorsement_key, storage_root_key = line.keys[FIRST]
    told = {name: result[name] for name in ("changed", "failed", "proven", "in_lockout")}
    assert told == {"changed": False, "failed": False, "proven": True, "in_lockout": False}
    assert result["endorsement_key_sha256"] == sha256(endorsement_key)
    assert result["storage_root_key_name"] == name_of(storage_root_key)
    assert not {"answer", "challenge", "invocation"} & set(result)
    assert run.output.count("SSH: EXEC") == 1, run.output


def test_check_mode_makes_the_proof_of_a_device_that_is_not_claimed_yet(line, run):
    rehearsed = run.module(line.hosts(FRESH), line.asking(FRESH), "--check")
    assert (rehearsed["changed"], rehearsed["proven"]) == (False, True)
    # The same device in earnest: nothing was persisted by the rehearsal.
    result = run.module(line.hosts(FRESH), line.asking(FRESH))
    assert_refused(result, "There is no storage root key at 0x81000001", FRESH)
    assert "tpm_ownership persists it" in result["msg"]


def test_check_mode_says_that_the_proof_is_planned_where_it_takes_the_owner(line, run):
    device = line.rack.device(FRESH)
    subprocess.run(["tpm2_changeauth", "-T", device.tpm.tcti, "-c", "owner", "secret"], check=True)
    try:
        result = run.module(line.hosts(FRESH), line.asking(FRESH), "--check")
    finally:
        subprocess.run(["tpm2_changeauth", "-T", device.tpm.tcti, "-c", "owner", "-p", "secret"], check=True)
    assert (result["changed"], result["proven"], result["skipped"]) == (False, False, True)
    assert result["msg"].startswith("The proof is planned")


def test_a_tpm_in_lockout_proves_its_keys_and_is_told(line, run):
    line.rack.break_(FIRST, "tpm-lockout")
    try:
        result = run.module(line.hosts(FIRST), line.asking())
    finally:
        line.rack.mend(FIRST, "tpm-lockout")
    assert (result["proven"], result["in_lockout"]) == (True, True)
    assert "The TPM is in dictionary attack lockout" in run.output


def test_an_endorsement_authorization_is_asked_for_used_and_not_shown(line, run):
    tcti = line.tcti(FIRST)
    subprocess.run(["tpm2_changeauth", "-T", tcti, "-c", "endorsement", ENDORSEMENT_AUTH], check=True)
    try:
        missing = run.module(line.hosts(FIRST), line.asking())
        asking = line.asking(endorsement_auth=ENDORSEMENT_AUTH)
        kept_back = run.module(line.hosts(FIRST), asking)
        on_record = {"recorded_storage_root_key": line.keys[FIRST][1]}
        ways = [on_record, {"endorsement_auth_before_proof": True}]
        given = [run.module(line.hosts(FIRST), {**asking, **way}, "-vvvvv") for way in ways]
    finally:
        subprocess.run(["tpm2_changeauth", "-T", tcti, "-c", "endorsement", "-p", ENDORSEMENT_AUTH], check=True)
    assert_refused(missing, "set endorsement_auth")
    assert_refused(kept_back, "no storage root key is on record for it")
    assert [one["proven"] for one in given] == [True, True]
    assert ENDORSEMENT_AUTH not in run.output


# Attacks


def test_an_endorsement_key_reported_from_another_device_is_refused(line, run):
    asking = line.asking(endorsement_key=SECOND)
    assert_refused(run.module(line.hosts(FIRST), asking), "The endorsement key of this TPM has the name")
    # The attacker hides from the code on the device whose key it is asked for; its TPM is not deceived.
    own, reported = line.keys[FIRST][0], line.keys[SECOND][0]
    line.attack(FIRST, incoming=[[reported, own]])
    assert_refused(run.module(line.hosts(FIRST), asking), "The TPM could not open the challenge")
    # Nor is the controller, by an answer that is made up.
    line.attack(FIRST, answer=json.dumps({"changed": False, "answer": "00" * 32, "proven": True, "in_lockout": False}))
    assert_refused(run.module(line.hosts(FIRST), asking), "the answer is not that of the TPM with the endorsement key")


def test_who_asks_for_the_endorsement_authorization_learns_nothing(line, run):
    """Neither as it is, nor sealed to a key of its own; a unit without a record is sent nothing."""
    needs = {"failed": True, "msg": "none was given", "needs": "endorsement_auth"}
    line.attack(FIRST, answer=json.dumps(needs), record="/root/all")
    asking = line.asking(endorsement_auth=ENDORSEMENT_AUTH)
    assert_refused(run.module(line.hosts(FIRST), asking), "has an authorization, which was not sent")
    on_record = {"recorded_storage_root_key": line.keys[SECOND][1]}
    assert_refused(
        run.module(line.hosts(FIRST), {**asking, **on_record}), "is not sent otherwise. Take it off the line"
    )
    sent = (line.files(FIRST) / "root/all").read_text()
    assert "modules.tpm_possession'" in sent
    assert ENDORSEMENT_AUTH not in sent


def test_a_replayed_answer_is_refused(line, run):
    line.attack(FIRST, keep="/root")
    assert run.module(line.hosts(FIRST), line.asking())["proven"] is True
    old = (line.files(FIRST) / "root/answer").read_text()
    assert len(json.loads(old)["answer"]) == 64
    line.attack(FIRST, answer=old)
    assert_refused(run.module(line.hosts(FIRST), line.asking()), "or an old answer was repeated")


def test_a_man_in_the_middle_who_answers_from_another_tpm_is_refused(line, run):
    asking = line.asking()
    line.attack(FIRST, incoming=[[line.tcti(FIRST), line.tcti(SECOND)]])
    assert_refused(run.module(line.hosts(FIRST), asking), "Another TPM answers")
    keys = [list(pair) for pair in zip(line.keys[FIRST], line.keys[SECOND])]
    line.attack(FIRST, incoming=[[line.tcti(FIRST), line.tcti(SECOND)], *keys])
    assert_refused(run.module(line.hosts(FIRST), asking), "The TPM could not open the challenge")


def test_a_storage_root_key_of_another_tpm_is_refused(line, run):
    asking = line.asking(storage_root_key=SECOND)
    assert_refused(run.module(line.hosts(FIRST), asking), "The storage root key of this TPM has the name")
    line.attack(FIRST, incoming=[[line.keys[SECOND][1], line.keys[FIRST][1]]])
    assert_refused(run.module(line.hosts(FIRST), asking), "The TPM could not open the challenge")


def test_a_storage_root_key_that_is_not_a_tpms_is_refused_unasked(line, run):
    """Whoever wrote the device's software holds a private key of the same name, and no TPM would mind."""
    public = bytearray(base64.b64decode(line.keys[FIRST][1]))
    public[9] &= ~0x12  # fixedTPM and fixedParent
    asking = {**line.asking(), "storage_root_key": base64.b64encode(public).decode()}
    assert_refused(run.module(line.hosts(FIRST), asking, "-vvv"), "not an RSA-2048 storage root key")
    assert "SSH: EXEC" not in run.output


def test_another_storage_root_key_than_the_recorded_one_is_refused(line, run):
    name = name_of(line.keys[FIRST][1])
    assert run.module(line.hosts(FIRST), line.asking(recorded_storage_root_key_name=name))["proven"] is True
    other = name_of(line.keys[SECOND][1])
    result = run.module(line.hosts(FIRST), line.asking(recorded_storage_root_key_name=other))
    assert_refused(result, f"its storage root key has the name {name}, on record is {other}: its TPM was cleared since")


def test_a_device_that_only_fails_when_asked_is_refused(line, run):
    """Nothing that a device can say but the right answer makes the task succeed."""
    for said in ('{"answer": null, "proven": true}', '{"skipped": true}', "nonsense"):
        line.attack(FIRST, answer=said)
        assert_refused(run.module(line.hosts(FIRST), line.asking()), "")


def test_a_cloned_tpm_answers_like_the_original_and_both_are_stopped_as_twins(line, run, tmp_path):
    """No proof can tell a copy of a TPM's memory; that two devices have one key is what tells it."""
    line.rack.break_(SECOND, "tpm-cloned-from", FIRST)
    try:
        cloned = run.module(line.hosts(SECOND), {**line.asking(FIRST), "tcti": line.tcti(SECOND)})
        assert cloned["proven"] is True
        role = {"name": "tpmfleet.azure_dps.endorsement_key"}
        settings = {
            "endorsement_key_step": "software_install",
            "tpmfleet_ledger": str(tmp_path / "ledger.sqlite"),
            "tpmfleet_ek_list_policy": "ignored",
            "tpmfleet_production": False,
        }
        code = run.playbook(
            line.hosts(FIRST, SECOND),
            {"tasks": [{"ansible.builtin.import_role": role}], "vars": settings},
        )
    finally:
        line.rack.mend(SECOND, "tpm-cloned-from")
    assert code != 0
    for name, other in ((FIRST, SECOND), (SECOND, FIRST)):
        serial = line.described[other]["serial_number"]
        assert f"{name}: its endorsement key was also found on {serial} ({other})" in run.output


# What a run leaves behind


@pytest.fixture
def sockets():
    """A directory for ssh's sockets whose name is short: with theirs a path of 108 characters has to do (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="ssh-") as directory:
        yield directory


def test_no_run_leaves_the_secret_or_the_challenge_on_a_disk_or_in_a_log(line, run, sockets, tmp_path):
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder/sitecustomize.py").write_text(RECORDER)
    drawn = tmp_path / "drawn"
    places = {"log": tmp_path / "log", "local": tmp_path / "local", "home": tmp_path / "home"}
    places["home"].mkdir()
    environment = {
        "DRAWN": drawn,
        "PYTHONPATH": f"{tmp_path / 'recorder'}:{os.environ['PYTHONPATH']}",
        "ANSIBLE_LOG_PATH": places["log"],
        "ANSIBLE_LOCAL_TEMP": places["local"],
        # So it is by default: a module travels as a file. This one must not.
        "ANSIBLE_PIPELINING": "0",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
        "HOME": places["home"],
    }
    line.attack(FIRST, keep="/root")
    result = run.module(line.hosts(FIRST), line.asking(), **environment)
    assert result.get("proven") is True, result
    # The attacker kept what was sent: the search below finds a challenge where there is one, and no secret even there.
    assert found_of(drawn, line.written(FIRST)) == ["nonce"]
    for left in ("root/sent", "root/answer", ATTACKERS_PYTHON):
        (line.files(FIRST) / left).unlink()
    for keys in ({}, {"endorsement_key": SECOND}):
        drawn.unlink()
        result = run.module(line.hosts(FIRST), line.asking(**keys), "-vvvvv", **environment)
        assert result["failed"] is bool(keys)
        (tmp_path / "output").write_text(run.output)
        assert "PUT " not in run.output and "ansible-tmp-" not in run.output
        for place in (*places.values(), tmp_path / "output", line.written(FIRST)):
            assert found_of(drawn, place) == [], (keys, place)
    assert "tpm_possession" in places["log"].read_text()


def found_of(drawn: Path, place: Path) -> list[str]:
    """Which of the three random values of a proof, as noted in *drawn*, are in files at or below *place*."""
    values = dict(zip(("secret", "seed", "nonce"), map(bytes.fromhex, drawn.read_text().split())))
    assert len(values) == 3
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file() and not one.is_symlink()]
    contents = [one.read_bytes() for one in files]
    return [
        name
        for name, value in values.items()
        if any(form in content for form in forms_of(value) for content in contents)
    ]


def forms_of(value: bytes) -> list[bytes]:
    """The ways in which *value* might be written."""
    text = value.hex()
    return [value, text.encode(), text.upper().encode(), base64.b64encode(value), base64.urlsafe_b64encode(value)]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"ANSIBLE_KEEP_REMOTE_FILES": 1}, "ANSIBLE_KEEP_REMOTE_FILES leaves modules on its disk. Run without it."),
        ({"become": True, "become_method": "ansible.builtin.su"}, "become method ansible.builtin.su cannot pipeline"),
        ({"connection": "ansible.builtin.paramiko_ssh"}, "the connection plugin paramiko cannot pipeline"),
        ({"async": 30, "poll": 1}, "does not support async"),
    ],
)
def test_where_the_challenge_would_be_written_to_a_file_it_is_not_made(line, run, how, words):
    result = run.module(line.hosts(FIRST), line.asking(), "-vvv", **how)
    assert result["failed"] is True
    assert words in result["msg"]
    assert "SSH: EXEC" not in run.output


def test_a_challenge_cannot_be_brought_along(line, run):
    result = run.module(line.hosts(FIRST), line.asking(challenge={"nonce": "AA=="}))
    assert result["failed"] is True
    assert "cannot be given" in result["msg"]


def test_a_missing_key_is_told(line, run):
    result = run.module(line.hosts(FIRST), {"tcti": line.tcti(FIRST), "storage_root_key": line.keys[FIRST][1]})
    assert_refused(result, "missing required arguments: endorsement_key")


def test_without_a_storage_root_key_the_endorsement_key_alone_is_proven_also_by_a_fresh_tpm(line, run):
    for name in (FIRST, FRESH):
        asking = {"tcti": line.tcti(name), "endorsement_key": line.keys[name][0]}
        result = run.module(line.hosts(name), asking)
        assert (result["proven"], result["storage_root_key_name"]) == (True, None)
    asking = {"tcti": line.tcti(FIRST), "endorsement_key": line.keys[SECOND][0]}
    own, reported = line.keys[FIRST][0], line.keys[SECOND][0]
    line.attack(FIRST, incoming=[[reported, own]])
    assert_refused(run.module(line.hosts(FIRST), asking), "does not hold the endorsement key that it reports")


# In the step


MASTER_KEY = "possession-test-master-key-0123456789abcdefghijkl"
STEP = "tpmfleet.azure_dps.software_install"


def claiming(own: tuple[str, str], other: tuple[str, str]) -> dict[str, list]:
    """What an attacker replaces, whose own keys and whose victim's these are, to pass for the victim."""
    pairs = [(own[0], other[0]), (sha256(own[0]), sha256(other[0])), (name_of(own[0]), name_of(other[0]))]
    pairs.append((registration_id(own[0]), registration_id(other[0])))
    outgoing = [[old, new] for old, new in pairs] + [['"certificate_matches": true', '"certificate_matches": false']]
    return {"incoming": [[new, old] for old, new in pairs], "outgoing": outgoing}


def registration_id(public: str) -> str:
    """The default one of an endorsement key in base64."""
    return base64.b32encode(bytes.fromhex(sha256(public))).decode().lower().rstrip("=")


@pytest.fixture
def settings(dps, tmp_path):
    """Variables of a station whose line a device passes through step 3."""
    return {
        "tpmfleet_dps_connection_string": dps.where["connection_string"],
        "tpmfleet_dps_ca_file": dps.where["ca_file"],
        "tpmfleet_dps_id_scope": dps.where["id_scope"],
        "tpmfleet_dps_global_endpoint": dps.where["endpoint"],
        "tpmfleet_ledger": str(tmp_path / "ledger.sqlite"),
        "tpmfleet_ek_list_policy": "ignored",
        "tpmfleet_production": False,
        "tpmfleet_master_key": MASTER_KEY,
        "tpmfleet_ownership_profile": "sdk",
    }


def assert_no_authorization(sent: str, *keys: str) -> None:
    """None that is derived for the TPMs of *keys* is in what was *sent*, which is truly all that a step sends."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive

    assert "modules.device_read'" in sent
    for key in keys:
        for hierarchy in ("owner", "endorsement", "lockout"):
            auth = derive(MASTER_KEY, name_of(key), hierarchy, 1)
            assert auth not in sent and base64.b64encode(auth.encode()).decode() not in sent


def test_the_step_stops_the_device_that_fails_and_enrolls_the_others(line, run, dps, service, settings):
    """A device reports the endorsement key of a TPM that it has not, and that nobody has seen yet, through the step."""
    record = "/root/sent"
    line.attack(SECOND, record=record, **claiming(line.keys[SECOND], line.keys[FRESH]))
    hosts = {name: {**variables, **settings} for name, variables in line.hosts(FIRST, SECOND).items()}
    for arguments in (["--check"], []):
        assert next(service.pages(), []) == []
        assert run.playbook(hosts, STEP, *arguments) != 0
        assert "does not hold the endorsement key that it reports" in run.output, run.output
    assert f"{FIRST}: ownership done, possession verified, dps_client done, enrollment done" in run.output
    [enrolled] = [one for page in service.pages() for one in page]
    assert enrolled["attestation"]["tpm"]["endorsementKey"] == line.keys[FIRST][0]
    sent = line.files(SECOND) / record[1:]
    assert "modules.device_work'" in sent.read_text()
    assert_no_authorization(sent.read_text(), line.keys[SECOND][0], line.keys[FRESH][0])
    sent.unlink()
    # The genuine unit comes later. What was claimed in its name makes it no twin.
    hosts = {name: {**variables, **settings} for name, variables in line.hosts(FRESH).items()}
    assert run.playbook(hosts, STEP) == 0, run.output
    assert f"{FRESH}: ownership done, possession verified, dps_client done, enrollment done" in run.output


def test_an_enrollment_by_word_alone_is_disabled_until_its_key_is_proven(line, run, dps, service, settings):
    """He names a key that nobody has seen yet, is enrolled by step 2, and fails in step 3, alone in his batch."""
    line.attack(SECOND, **claiming(line.keys[SECOND], line.keys[FRESH]))
    hosts = {SECOND: {**line.hosts(SECOND)[SECOND], **settings}}
    assert run.playbook(hosts, "tpmfleet.azure_dps.tpm_install") == 0, run.output
    name = registration_id(line.keys[FRESH][0])
    assert run.playbook(hosts, STEP, "--check") != 0
    assert service.enrollment(name)["provisioningStatus"] == "enabled"
    assert run.playbook(hosts, STEP) != 0
    assert "does not hold the endorsement key that it reports" in run.output, run.output
    assert re.search(rf"Its enrollment {name} was disabled\.( \(errors\.md#[a-z-]+\))?[\"\n]", run.output), run.output
    assert service.enrollment(name)["provisioningStatus"] == "disabled"
    serial = hosts[SECOND]["tpmfleet_serial_number"]
    story = ["-e", f"tpmfleet_ledger={settings['tpmfleet_ledger']}", "-e", f"tpmfleet_serial_number={serial}"]
    assert run.playbook({}, "tpmfleet.azure_dps.story", *story) == 0, run.output
    assert "FAILED on the device: The TPM could not open the challenge" in run.output
    assert "Its enrollment: disabled." in run.output
    # The unit whose key it is comes, and proves it.
    hosts = {FRESH: {**line.hosts(FRESH)[FRESH], **settings}}
    assert run.playbook(hosts, STEP) == 0, run.output
    assert service.enrollment(name)["provisioningStatus"] == "enabled"
    assert run.playbook(hosts, STEP) == 0 and f"{FRESH}: ownership verified" in run.output, run.output


def test_an_enrollment_in_a_key_that_several_name_and_nobody_proves_is_disabled(line, run, dps, service, settings):
    """Two name a key that neither has. The one that step 2 enrolled is stopped before its own work begins."""
    line.attack(SECOND, **claiming(line.keys[SECOND], line.keys[FRESH]))
    hosts = {SECOND: {**line.hosts(SECOND)[SECOND], **settings}}
    assert run.playbook(hosts, "tpmfleet.azure_dps.tpm_install") == 0, run.output
    name = registration_id(line.keys[FRESH][0])
    line.attack(FIRST, **claiming(line.keys[FIRST], line.keys[FRESH]))
    hosts = {one: {**variables, **settings} for one, variables in line.hosts(FIRST, SECOND).items()}
    assert run.playbook(hosts, STEP, "--check") != 0
    assert service.enrollment(name)["provisioningStatus"] == "enabled"
    for method in ("PUT", "POST"):
        dps.fault(method=method, path="/enrollments", status=403, count=50)
    assert run.playbook(hosts, STEP) != 0
    dps.control("DELETE", "faults")
    assert f"{SECOND}: disable its enrollment {name} first, which is enabled and could not be" in run.output, run.output
    assert service.enrollment(name)["provisioningStatus"] == "enabled"
    assert run.playbook(hosts, STEP) != 0
    assert re.search(
        rf"{SECOND}: its endorsement key was also found on .*; its enrollment {name} was disabled", run.output
    )
    assert run.output.count("was disabled") and f"{FIRST}: disable its" not in run.output
    assert service.enrollment(name)["provisioningStatus"] == "disabled"
    serial = hosts[SECOND]["tpmfleet_serial_number"]
    story = ["-e", f"tpmfleet_ledger={settings['tpmfleet_ledger']}", "-e", f"tpmfleet_serial_number={serial}"]
    assert run.playbook({}, "tpmfleet.azure_dps.story", *story) == 0, run.output
    assert "Its enrollment: disabled." in run.output
    # The unit whose key it is comes, and proves it.
    hosts = {FRESH: {**line.hosts(FRESH)[FRESH], **settings}}
    assert run.playbook(hosts, STEP) == 0, run.output
    assert service.enrollment(name)["provisioningStatus"] == "enabled"


def test_who_names_the_key_of_a_unit_whose_tpm_has_another_one_persisted_stops_nobody_but_himself(
    line, run, dps, service, settings
):
    """Some client has left the key of its own template in the genuine unit, and the claim is to remove it."""
    persist_endorsement_key(line.tcti(FRESH), "sdk")
    settings = {**settings, "tpmfleet_replace_persistent_keys": True, "tpmfleet_endorsement_key_template": "tcg"}
    hosts = {FRESH: {**line.hosts(FRESH)[FRESH], **settings}}
    try:
        assert run.playbook(hosts, "tpmfleet.azure_dps.tpm_install") == 0, run.output
        line.attack(FIRST, **claiming(line.keys[FIRST], line.keys[FRESH]))
        hosts = {one: {**variables, **settings} for one, variables in line.hosts(FIRST, FRESH).items()}
        for arguments in (["--check"], []):
            assert run.playbook(hosts, STEP, *arguments) != 0
            assert re.search(rf"{FRESH} +: .*failed=0", run.output), run.output
            assert f"({FRESH}), which has proven that its TPM holds it; this one did not prove it" in run.output
    finally:
        persist_endorsement_key(line.tcti(FRESH), "tcg")
    enrollment = service.enrollment(registration_id(line.keys[FRESH][0]))
    assert enrollment["provisioningStatus"] == "enabled"


def test_one_who_names_the_key_of_a_unit_beside_him_stops_nobody_but_himself(line, run, dps, service, settings):
    """He gets no authorization, and neither does one with a key of his own and the name of the other's."""
    record = "/root/sent"
    line.attack(SECOND, record=record, **claiming(line.keys[SECOND], line.keys[FIRST]))
    own, others = (name_of(line.keys[name][0]) for name in (FRESH, FIRST))
    line.attack(FRESH, record=record, outgoing=[[own, others]])
    hosts = {name: {**variables, **settings} for name, variables in line.hosts(SECOND, FRESH, FIRST).items()}
    for arguments in (["--check"], []):
        assert run.playbook(hosts, STEP, *arguments) != 0
        assert re.search(rf"{FIRST} +: .*failed=0", run.output), run.output
        assert f"({FIRST}), which has proven that its TPM holds it; this one did not prove it" in run.output
        assert f"{FRESH}: it says name '{others}' of its endorsement key, which is another key's" in run.output
    [enrolled] = [one for page in service.pages() for one in page]
    assert enrolled["attestation"]["tpm"]["endorsementKey"] == line.keys[FIRST][0]
    for name in (SECOND, FRESH):
        sent = line.files(name) / record[1:]
        assert "modules.device_work'" not in sent.read_text()
        assert_no_authorization(sent.read_text(), *(keys[0] for keys in line.keys.values()))
        sent.unlink()
