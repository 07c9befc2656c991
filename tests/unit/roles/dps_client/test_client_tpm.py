# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM is not there, hangs, is full, is owned or in use by others; and a kept key that is damaged."""

from __future__ import annotations

import base64
import json
import subprocess
import time

import pytest


def test_a_tpm_that_is_not_there(enrolled):
    enrolled.tpm.stop()
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "TPM" in done.stderr
    assert "Traceback" not in done.stderr
    enrolled.tpm.start()
    assert enrolled.run("register", "--once").returncode == 0


def test_a_tpm_that_never_answers_does_not_hold_the_client_for_ever(enrolled):
    enrolled.configuration["tpm_timeout"] = 2
    enrolled.tpm.pause()
    try:
        done = enrolled.run("register", "--once", timeout=30)
    finally:
        enrolled.tpm.resume()
    assert done.returncode == 75, done.stderr
    assert "TPM" in done.stderr
    assert enrolled.run("register", "--once").returncode == 0


def fill(device):
    """Leaves keys in the TPM until it takes no more, as a program that does not clean up does."""
    for number in range(3):
        device.tool("tpm2_createprimary", "-C", "n", "-G", "ecc", "-c", f"left-{number}")


def test_a_tpm_that_another_user_filled_up(enrolled):
    fill(enrolled)
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "no room for another key" in done.stderr
    assert len(enrolled.transient_objects()) == 3
    enrolled.tool("tpm2_flushcontext", "-t")
    assert enrolled.run("register", "--once").returncode == 0


def test_a_full_tpm_is_no_reason_to_give_an_assignment_up(enrolled):
    """The kept key cannot be tried, which says nothing against it."""
    assert enrolled.run("register").returncode == 0
    before = enrolled.assignment()
    fill(enrolled)
    assert enrolled.run("register", "--once").returncode == 75
    enrolled.tool("tpm2_flushcontext", "-t")
    assert "nothing to do" in enrolled.run("register", "--once").stderr
    assert enrolled.assignment() == before


@pytest.mark.parametrize("code", ["FAILURE", "CANCELED", 0x18B, 0x98E])
def test_a_tpm_that_says_nothing_of_the_kept_key_has_said_nothing_against_it(enrolled, code):
    """Defective, interrupted, or of the storage root key and its use: a new assignment would be no better."""
    assert enrolled.run("register").returncode == 0
    before = enrolled.assignment()
    enrolled.tpm.stop()
    enrolled.tpm.answer_by({"answers": [{"command": "Load", "code": code, "times": 1}]})
    enrolled.tpm.start()
    assert enrolled.run("register", "--once").returncode == 75
    assert "nothing to do" in enrolled.run("register", "--once").stderr
    assert enrolled.assignment() == before


# Has the TPM to itself for a moment, again and again, until it is told to end.
OTHER_USER = """
import sys, threading, time
from tpm2_pytss import ESAPI, ESYS_TR
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
turns = 0
while not ended.is_set():
    with ESAPI(sys.argv[1]) as esys:
        handle, *rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256", ESYS_TR.NULL)
        time.sleep(0.3)
        esys.flush_context(handle)
    turns += 1
    time.sleep(0.05)
print(turns)
"""


def test_another_user_of_the_tpm_at_the_same_time(enrolled):
    """Both get their turns."""
    start = ["/usr/bin/python3", "-c", OTHER_USER, enrolled.tpm.tcti]
    with subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        time.sleep(1)
        done = enrolled.run("register", "--within", "50")
        turns = other.communicate(timeout=60)[0]
    assert done.returncode == 0, done.stderr
    assert int(turns) > 3
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_a_tpm_that_the_fleet_owns_needs_no_authorization(enrolled):
    for hierarchy in ("o", "l"):
        enrolled.tool("tpm2_changeauth", "-c", hierarchy, "of-the-fleet")
    assert enrolled.run("selftest").returncode == 0
    assert enrolled.run("register").returncode == 0
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())
    assert enrolled.transient_objects() == []


def test_the_authorization_of_the_endorsement_hierarchy(enrolled):
    """Without it, or with another, the selftest already says that no challenge can be answered."""
    enrolled.tool("tpm2_changeauth", "-c", "e", "the-right-one")
    held = enrolled.directory / "endorsement-auth"
    for wrong in (None, "the-wrong-one\n"):
        if wrong:
            held.write_text(wrong)
            enrolled.configuration["endorsement_auth_file"] = str(held)
        done = enrolled.run("selftest")
        assert done.returncode == 1
        assert "authorization" in done.stderr
        assert "the-" not in done.stderr
    held.write_text("the-right-one\n")
    assert enrolled.run("selftest").returncode == 0
    done = enrolled.run("register")
    assert done.returncode == 0, done.stderr
    said = done.stderr + "".join(path.read_text() for path in enrolled.state.iterdir())
    assert "the-right-one" not in said


def test_a_tpm_in_which_no_key_is_persisted(bare):
    """The client makes what it needs, each time the same, and leaves nothing; also beside another user of the TPM."""
    bare.tool("tpm2_createprimary", "-C", "n", "-G", "ecc", "-c", "theirs")
    done = bare.run("register", "--once")
    assert done.returncode == 0, done.stderr
    assert bare.hub_accepts(bare.run("token").stdout.strip())
    assert "nothing to do" in bare.run("register").stderr
    assert len(bare.transient_objects()) == 1


EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def test_the_key_that_is_made_is_the_one_of_the_nonce_that_the_maker_left(bare, tmp_path):
    """Of a TPM without a certificate, which would say otherwise; as tpm2-tools make it by the profile."""
    bare.tpm.stop()
    bare.tpm = type(bare.tpm)(tmp_path / "uncertified")
    bare.tpm.manufacture(certificate=False)
    bare.tpm.start()
    bare.configuration.update(tcti=bare.tpm.tcti, registration_id=bare.registration_id + "-nv")
    nonce = b"nonce-of-the-maker"
    for name, content in {
        "policy": EK_POLICY,
        "nonce": nonce,
        "unique": b"\x00\x01" + nonce.ljust(256, b"\x00"),
    }.items():
        (bare.directory / name).write_bytes(content)
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|restricted|decrypt|adminwithpolicy"
    key = ("-G", "rsa2048:aes128cfb", "-a", attributes, "-L", "policy", "-u", "unique")
    bare.tool("tpm2_createprimary", "-C", "e", *key, "-c", "ek")
    bare.tool("tpm2_readpublic", "-c", "ek", "-f", "tss", "-o", "ek.pub")
    bare.tool("tpm2_flushcontext", "-t")
    key = base64.b64encode((bare.directory / "ek.pub").read_bytes()).decode()
    enrollment = {
        "registrationId": bare.registration_id,
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
    }
    bare.dps.call("PUT", f"/enrollments/{bare.registration_id}", enrollment)
    assert bare.run("register", "--once").returncode == 77
    bare.tool("tpm2_nvdefine", "-C", "o", "-s", str(len(nonce)), "-a", "ownerwrite|authread|no_da", "0x01c00003")
    bare.tool("tpm2_nvwrite", "-C", "o", "-i", "nonce", "0x01c00003")
    done = bare.run("register", "--once")
    bare.tpm.stop()
    assert done.returncode == 0, done.stderr


def test_applications_and_the_service_at_the_same_time(bare):
    """Each makes the primary keys that it needs, for which together there would be no room."""
    assert bare.run("register", "--once").returncode == 0
    start = ["/usr/bin/python3", str(bare.program), "--config", str(bare.directory / "config.json")]
    commands = [["token"], ["token"], ["selftest"], ["register", "--once"], ["token"]]
    together = [
        subprocess.Popen([*start, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    for process in together:
        said, _none = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert bare.transient_objects() == []


def test_an_endorsement_key_that_was_made_as_the_sdks_do(bare):
    """The other template makes another key, and by that another default registration ID."""
    del bare.configuration["registration_id"]
    tcg = json.loads(bare.run("selftest").stdout)["registration_id"]
    bare.configuration["endorsement_key_template"] = "sdk"
    assert json.loads(bare.run("selftest").stdout)["registration_id"] != tcg
    bare.configuration["endorsement_key_template"] = "other"
    assert "tcg or sdk" in bare.run("selftest").stderr


MOODS = [
    {"code": "INITIALIZE", "until": "Startup"},
    {"command": "ReadPublic", "code": "TESTING", "times": 6},
    {"command": "StartAuthSession", "code": "SESSION_MEMORY", "times": 2},
    {"command": "PolicySecret", "code": "RETRY", "times": 7},
    {"command": "ActivateCredential", "code": "NEEDS_TEST", "until": "SelfTest"},
    {"command": "Import", "code": "YIELDED", "times": 6},
    {"command": "Load", "code": "OBJECT_MEMORY", "times": 2},
    {"command": "EvictControl", "code": "NV_RATE", "times": 3},
]


def test_a_tpm_in_every_mood_registers(enrolled):
    """Not started, not tested, busy, crowded: waited for, or given what it wants."""
    enrolled.tpm.stop()
    enrolled.tpm.answer_by({"answers": MOODS})
    enrolled.tpm.start()
    enrolled.configuration["persistent_handle"] = "0x81000100"
    done = enrolled.run("register", "--once")
    assert done.returncode == 0, done.stderr
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("CONTEXT_GAP", "tpm2_flushcontext -s"),
        ("INITIALIZE", "has not been started"),
        ("NEEDS_TEST", "has not tested itself"),
        ("NV_RATE", "limits how often"),
    ],
)
def test_a_tpm_that_stays_in_its_mood_is_told(enrolled, code, words):
    enrolled.configuration["tpm_timeout"] = 1
    enrolled.tpm.stop()
    enrolled.tpm.answer_by({"answers": [{"command": "CreatePrimary", "code": code}, {"command": "Load", "code": code}]})
    enrolled.tpm.start()
    done = enrolled.run("register", "--once")
    assert (done.returncode, words in done.stderr) == (75, True), done.stderr


def with_key(kept, **parts):
    """The assignment with other parts of its key."""
    return json.dumps({**kept, "key": {**kept["key"], **parts}}).encode()


DAMAGES = {
    "empty": lambda kept: b"",
    "cut": lambda kept: json.dumps(kept).encode()[:700],
    "zeros": lambda kept: b"\0" * 3000,
    "list": lambda kept: b"[]",
    "no time": lambda kept: json.dumps({**kept, "assigned_at": "yesterday"}).encode(),
    "no key": lambda kept: json.dumps({**kept, "key": None}).encode(),
    "no base64": lambda kept: with_key(kept, private="not base64!"),
    "no public area": lambda kept: with_key(kept, public="AAAA"),
    "a bit": lambda kept: with_key(kept, private=flipped(kept["key"]["private"])),
}


def test_what_a_damaged_disk_gives_back_is_registered_anew(enrolled):
    assert enrolled.run("register").returncode == 0
    for name, damage in DAMAGES.items():
        (enrolled.state / "assignment.json").write_bytes(damage(enrolled.assignment()))
        (enrolled.state / "status.json").write_bytes(b"{}")
        assert enrolled.run("status").returncode in (0, 75), name
        done = enrolled.run("register", "--once", fault="wait = time.sleep\ntime.sleep = lambda _seconds: wait(0.1)")
        assert done.returncode == 0 and "Assigned to" in done.stderr, (name, done.stderr)
        assert enrolled.hub_accepts(enrolled.run("token").stdout.strip()), name


def flipped(text):
    """One bit of a wrapped key is another."""
    content = bytearray(base64.b64decode(text))
    content[-1] ^= 1
    return base64.b64encode(bytes(content)).decode()


def test_a_challenge_that_holds_no_tpm_structures(enrolled, portal):
    """Sizes that fit, and nonsense in them."""
    part = b"\0\x20" + b"\xff" * 32
    body = json.dumps({"authenticationKey": base64.b64encode(part * 5).decode()})
    enrolled.configuration["global_endpoint"] = portal(status=401, body=body)
    begin = time.monotonic()
    done = enrolled.run("register", "--once")
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr
    assert "TPM" in done.stderr
    assert time.monotonic() - begin < 20


HANDLE = "0x81000100"


def test_a_hub_key_that_applications_find_in_the_tpm(enrolled):
    """Replaced at each registration, and made up for at the next boot where it is not there."""
    enrolled.configuration["persistent_handle"] = HANDLE
    assert enrolled.run("selftest").returncode == 0
    assert enrolled.run("register").returncode == 0
    assert enrolled.hub_key_is_at(HANDLE)
    assert enrolled.run("reprovision").returncode == 0
    assert enrolled.hub_key_is_at(HANDLE)
    enrolled.tool("tpm2_evictcontrol", "-C", "o", "-c", HANDLE)
    assert "nothing to do." in enrolled.run("register").stderr
    assert enrolled.hub_key_is_at(HANDLE)
    assert enrolled.transient_objects() == []


def test_what_is_forgotten_is_forgotten_by_the_tpm_too(enrolled):
    """And where the TPM cannot, nothing is, so that the next try finds it."""
    enrolled.configuration["persistent_handle"] = HANDLE
    assert enrolled.run("register", "--once").returncode == 0
    enrolled.tool("tpm2_changeauth", "-c", "o", "of-the-fleet")
    refused = enrolled.run("forget")
    assert refused.returncode != 0 and "authorization" in refused.stderr
    assert json.loads(enrolled.run("status", "--json").stdout)["assignment"]
    enrolled.tool("tpm2_changeauth", "-c", "o", "-p", "of-the-fleet")
    for _again in range(2):
        assert enrolled.run("forget").returncode == 0
        assert HANDLE not in enrolled.tool("tpm2_getcap", "handles-persistent")
        assert json.loads(enrolled.run("status", "--json").stdout)["assignment"] is None
    assert enrolled.transient_objects() == []


def test_persisting_takes_the_authorization_of_the_owner(enrolled):
    enrolled.tool("tpm2_changeauth", "-c", "o", "of-the-fleet")
    enrolled.configuration["persistent_handle"] = HANDLE
    assert "authorization" in enrolled.run("selftest").stderr
    done = enrolled.run("register")
    assert done.returncode == 0
    assert "The hub key was not persisted" in done.stderr
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())
    (enrolled.directory / "owner-auth").write_text("of-the-fleet\n")
    enrolled.configuration["owner_auth_file"] = str(enrolled.directory / "owner-auth")
    assert enrolled.run("selftest").returncode == 0
    assert enrolled.run("register").returncode == 0
    assert enrolled.hub_key_is_at(HANDLE)


def test_somebody_elses_key_at_the_handle_is_left_alone(enrolled):
    enrolled.tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "theirs")
    enrolled.tool("tpm2_evictcontrol", "-C", "o", "-c", "theirs", HANDLE)
    enrolled.tool("tpm2_flushcontext", "-t")
    enrolled.configuration["persistent_handle"] = HANDLE
    for command in ("selftest", "register"):
        assert "a key of another kind" in enrolled.run(command).stderr
    enrolled.tool("tpm2_readpublic", "-c", HANDLE, "-o", "public")


def test_a_handle_that_cannot_be(enrolled):
    for handle in ("0x81000001", "0x81010001", "0x40000001", "0x81800000", "somewhere"):
        enrolled.configuration["persistent_handle"] = handle
        assert "persistent_handle must be" in enrolled.run("selftest").stderr
