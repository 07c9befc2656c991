# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM is not there, hangs, is full, is owned or in use by others; and a kept key that is damaged."""

from __future__ import annotations

import base64
import json
import subprocess
import time


def tool(device, *command):
    """One of tpm2-tools, as another user of the TPM."""
    done = subprocess.run(
        [command[0], "-T", device.tpm.tcti, *command[1:]],
        cwd=device.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


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
        tool(device, "tpm2_createprimary", "-C", "n", "-G", "ecc", "-c", f"left-{number}")


def test_a_tpm_that_another_user_filled_up(enrolled):
    fill(enrolled)
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "no room for another key" in done.stderr
    assert len(enrolled.transient_objects()) == 3
    tool(enrolled, "tpm2_flushcontext", "-t")
    assert enrolled.run("register", "--once").returncode == 0


def test_a_full_tpm_is_no_reason_to_give_an_assignment_up(enrolled):
    """The kept key cannot be tried, which says nothing against it."""
    assert enrolled.run("register").returncode == 0
    before = enrolled.assignment()
    fill(enrolled)
    assert enrolled.run("register", "--once").returncode == 75
    tool(enrolled, "tpm2_flushcontext", "-t")
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


def own(device, *, endorsement="", owner="", persisted=False):
    """What ownership does in the factory."""
    if persisted:
        tool(device, "tpm2_createek", "-G", "rsa", "-c", "0x81010001", "-u", "ek")
        srk = ["-a", "restricted|decrypt|fixedtpm|fixedparent|noda|userwithauth|sensitivedataorigin"]
        tool(device, "tpm2_createprimary", "-C", "o", "-G", "rsa2048:aes128cfb", "-g", "sha256", *srk, "-c", "srk")
        tool(device, "tpm2_evictcontrol", "-C", "o", "-c", "srk", "0x81000001")
        tool(device, "tpm2_flushcontext", "-t")
    for hierarchy, auth in (("e", endorsement), ("o", owner), ("l", owner)):
        if auth:
            tool(device, "tpm2_changeauth", "-c", hierarchy, auth)


def test_a_tpm_that_the_fleet_owns_needs_no_authorization(enrolled):
    own(enrolled, owner="owner-authorization", persisted=True)
    assert enrolled.run("selftest").returncode == 0
    assert enrolled.run("register").returncode == 0
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())
    assert enrolled.transient_objects() == []


def test_the_authorization_of_the_endorsement_hierarchy(enrolled):
    """Without it, or with another, the selftest already says that no challenge can be answered."""
    own(enrolled, endorsement="the-right-one", persisted=True)
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


def test_an_endorsement_key_that_was_made_as_the_sdks_do(device):
    """The other template makes another key, and by that another default registration ID."""
    del device.configuration["registration_id"]
    tcg = json.loads(device.run("selftest").stdout)["registration_id"]
    device.configuration["endorsement_key_template"] = "sdk"
    assert json.loads(device.run("selftest").stdout)["registration_id"] != tcg
    device.configuration["endorsement_key_template"] = "other"
    assert "tcg or sdk" in device.run("selftest").stderr


def with_key(kept, **parts):
    """The assignment with other parts of its key."""
    return json.dumps({**kept, "key": {**kept["key"], **parts}}).encode()


DAMAGES = {
    "empty": lambda kept: b"",
    "cut": lambda kept: json.dumps(kept).encode()[:700],
    "zeros": lambda kept: b"\0" * 3000,
    "list": lambda kept: b"[]",
    "no key": lambda kept: json.dumps({**kept, "key": None}).encode(),
    "no base64": lambda kept: with_key(kept, private="not base64!"),
    "no public area": lambda kept: with_key(kept, public="AAAA"),
    "a bit": lambda kept: with_key(kept, private=flipped(kept["key"]["private"])),
}


def test_what_a_damaged_disk_gives_back_is_registered_anew(enrolled):
    with enrolled.forks() as run:
        assert run("", "register")[0] == 0
        for name, damage in DAMAGES.items():
            (enrolled.state / "assignment.json").write_bytes(damage(enrolled.assignment()))
            (enrolled.state / "status.json").write_bytes(b"{}")
            code, said = run("", "status")
            assert code in (0, 75), (name, said)
            code, said = run("", "register", "--once")
            assert code == 0 and "Assigned to" in said, (name, said)
            assert enrolled.hub_accepts(run("", "token")[1].strip()), name


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
