# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM that is not there, not answering, busy or refusing is told in words, in time, and nothing stays in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import connection, templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.library import LibraryError
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
from tpm2_pytss.TSS2_Exception import TSS2_Exception
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE, TPMT_SYM_DEF


def look(tcti, timeout=5):
    """One cheap command."""
    with connect(tcti, timeout) as esys:
        return esys.get_random(4)


def load_a_key_and_a_session(esys):
    """What has to be flushed later."""
    esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
    esys.start_auth_session(
        tpm_key=ESYS_TR.NONE,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.HMAC,
        symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        auth_hash=TPM2_ALG.SHA256,
    )


@pytest.mark.parametrize(
    ("tcti", "words"),
    [
        ("device:/dev/no-such-tpm", "There is no TPM at /dev/no-such-tpm"),
        ("swtpm:host=127.0.0.1,port=1", "No TPM answers at swtpm:host=127.0.0.1,port=1"),
        ("nonsense:x", "for the TCTI 'nonsense:x'"),
        ("device:/dev/null", "The connection to the TPM at device:/dev/null"),
    ],
)
def test_no_tpm(tcti, words):
    with pytest.raises(TpmError, match=words):
        look(tcti)


def test_no_permission(tmp_path, monkeypatch):
    device = tmp_path / "tpmrm0"
    device.touch()
    monkeypatch.setattr(connection.os, "access", lambda *_args: False)
    with pytest.raises(TpmError, match="No permission to use the TPM at .*tpmrm0.*root"):
        look(f"device:{device}")


def test_a_missing_library_is_told_with_its_remedy(monkeypatch):
    def missing():
        raise LibraryError

    monkeypatch.setattr(connection, "load", missing)
    with pytest.raises(TpmError, match="tpm2-pytss.*tpm_runtime"):
        look("device:/dev/tpmrm0")


def test_a_tpm_that_never_answers_is_given_up_in_time(chip):
    chip.pause()
    before = time.monotonic()
    with pytest.raises(TpmError, match="did not answer within 1 s"):
        look(chip.tcti, timeout=1)
    assert time.monotonic() - before < 3
    chip.resume()


def test_a_tpm_that_hangs_half_way_is_given_up(chip):
    words = "did not answer within 1 s when it was to make a primary key"
    with pytest.raises(TpmError, match=words), connect(chip.tcti, 1) as esys:
        esys.get_random(4)
        chip.pause()
        esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
    # The hung chip still makes its key when it goes on, and has no resource manager to take it away.
    chip.power_cycle()


def test_a_process_ends_although_its_tpm_never_answers(chip):
    chip.pause()
    program = (
        "from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect\n"
        f"try:\n with connect({chip.tcti!r}, 1): pass\n"
        "except TpmError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    assert "did not answer" in done.stdout
    chip.resume()


def test_whoever_has_something_else_to_do_is_told_once_that_a_command_takes_long(chip, answers):
    answers(chip, delays=[{"command": "GetRandom", "seconds": 0.6}])
    told = []
    connection.tell_when_slow(0.2, lambda: told.append(time.monotonic()))
    begin = time.monotonic()
    with connect(chip.tcti, 5) as esys:
        assert told == [], "nothing took long yet"
        for _command in range(2):
            assert len(esys.get_random(4)) == 4
    assert len(told) == 1 and told[0] - begin < time.monotonic() - begin - 0.6


def test_a_command_that_takes_long_has_no_more_time_for_that(chip):
    told = []
    connection.tell_when_slow(0.5, lambda: told.append(None))
    chip.pause()
    before = time.monotonic()
    with pytest.raises(TpmError, match="did not answer within 1 s"):
        look(chip.tcti, timeout=1)
    assert told == [None] and time.monotonic() - before < 3
    chip.resume()


def test_a_busy_tpm_is_waited_for(chip):
    holder = socket.create_connection(("127.0.0.1", chip.port))
    threading.Timer(0.5, holder.close).start()
    assert len(look(chip.tcti)) == 4


def test_a_tpm_that_stays_busy_is_given_up(chip):
    with socket.create_connection(("127.0.0.1", chip.port)), pytest.raises(TpmError, match="another program holds it"):
        look(chip.tcti, timeout=1)


@pytest.mark.parametrize("code", ["RETRY", "YIELDED", "TESTING", "NV_RATE", "NV_UNAVAILABLE"])
def test_a_chip_that_needs_a_moment_gets_it(chip, answers, code):
    # The library asks five times by itself.
    answers(chip, answers=[{"command": "GetRandom", "code": code, "times": 8}])
    assert len(look(chip.tcti)) == 4


@pytest.mark.parametrize(
    "code", ["CONTEXT_GAP", "OBJECT_MEMORY", "SESSION_MEMORY", "OBJECT_HANDLES", "SESSION_HANDLES"]
)
def test_a_chip_that_others_crowd_is_waited_for_a_little(chip, answers, code):
    answers(chip, answers=[{"command": "GetRandom", "code": code, "times": 3}])
    assert len(look(chip.tcti)) == 4


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("CONTEXT_GAP", "a saved session is too old.*tpm2_flushcontext -s"),
        ("OBJECT_MEMORY", "no room for another key.*tpm2_flushcontext -t"),
        ("SESSION_MEMORY", "no room for another session.*tpm2_flushcontext -l"),
        ("RETRY", "stayed busy"),
        ("NV_RATE", "limits how often its NV memory is written"),
        ("INITIALIZE", "has not been started, and TPM2_Startup did not start it.*Power-cycle"),
        ("NEEDS_TEST", "has not tested itself, and TPM2_SelfTest did not.*Power-cycle"),
    ],
)
def test_a_chip_that_stays_so_is_told_with_what_to_do(chip, answers, code, words):
    answers(chip, answers=[{"command": "GetRandom", "code": code}])
    before = time.monotonic()
    with pytest.raises(TpmError, match=words):
        look(chip.tcti, timeout=3)
    assert time.monotonic() - before < 12


@pytest.mark.parametrize(("code", "cure"), [("INITIALIZE", "Startup"), ("NEEDS_TEST", "SelfTest")])
def test_a_chip_that_wants_something_first_gets_it(chip, answers, code, cure):
    """Also where that is answered by a request to come again."""
    busy = {"command": cure, "code": "RETRY", "times": 6}
    answers(chip, answers=[busy, {"command": "GetRandom", "code": code, "until": cure}])
    assert len(look(chip.tcti)) == 4


def test_a_chip_that_somebody_else_started_meanwhile(chip, answers):
    """TPM2_Startup is then refused with the very code that asked for it."""
    answers(chip, answers=[{"command": "GetRandom", "code": "INITIALIZE", "times": 1}])
    assert len(look(chip.tcti)) == 4


class Moody:
    """A TPM that refuses the first commands with *codes*."""

    def __init__(self, codes):
        self._codes = list(codes)

    def __call__(self, _tcti):
        return self

    def get_random(self, _size):
        if self._codes:
            raise TSS2_Exception(self._codes.pop(0))
        return b"1234"

    def close(self):
        """As ESAPI has it."""


@pytest.mark.parametrize("code", [0x908, 0x90A, 0x920, 0x922, 0x923, 0x0B0922])
def test_a_passing_refusal_is_asked_again(monkeypatch, code):
    monkeypatch.setattr(connection.load(), "ESAPI", Moody([code, code]))
    assert look("moody") == b"1234"


def test_a_passing_refusal_that_stays_is_told(monkeypatch):
    monkeypatch.setattr(connection.load(), "ESAPI", Moody([0x922] * 1000))
    with pytest.raises(TpmError, match="stayed busy"):
        look("moody", timeout=0.3)


class Slow(Moody):
    """One whose answers take *seconds* from the second on."""

    def __init__(self, codes, seconds):
        super().__init__(codes)
        self._seconds = [0.9, *[seconds] * 10]

    def get_random(self, size):
        time.sleep(self._seconds.pop(0))
        return super().get_random(size)


def test_a_busy_one_whose_last_answer_is_late_is_not_told_for_one_that_hangs(monkeypatch):
    monkeypatch.setattr(connection.load(), "ESAPI", Slow([0x922] * 10, seconds=3))
    monkeypatch.setattr(connection, "_SHORTEST_TRY", 0.1)
    with pytest.raises(TpmError, match="stayed busy"):
        look("moody", timeout=1)


def test_a_busy_one_that_then_hangs_is_told_so(monkeypatch):
    monkeypatch.setattr(connection.load(), "ESAPI", Slow([0x922] * 10, seconds=3))
    with pytest.raises(TpmError, match="did not answer within 2 s"):
        look("moody", timeout=2)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x921, "in dictionary attack lockout"),
        (0x9A2, "the authorization is not the right one"),
        (0x98E, "counted it as an attack"),
        (0x902, "no room for another key.*tpm2_flushcontext"),
        (0x0B0903, "no room for another session"),
        (0x101, "failure mode"),
        (0x14B, "no room left in its NV memory"),
        (0x1BF, r"the TPM refused it \(code 0x1bf\)"),
        (0x0A000A, "The connection to the TPM broke"),
        (0x070004, "The TPM software stack could not"),
    ],
)
def test_a_refusal_is_told_in_words(monkeypatch, code, words):
    monkeypatch.setattr(connection.load(), "ESAPI", Moody([code] * 100))
    with pytest.raises(TpmError, match=words) as caught:
        look("moody", timeout=0.1)
    assert caught.value.rc == code


def test_what_was_loaded_is_flushed(chip, tools):
    with connect(chip.tcti) as esys:
        load_a_key_and_a_session(esys)
        assert tools.leftovers()
    assert tools.leftovers() == ""


def test_what_was_loaded_is_flushed_after_an_error_too(chip, tools):
    with pytest.raises(TpmError, match="the authorization"), connect(chip.tcti) as esys:
        load_a_key_and_a_session(esys)
        esys.tr_set_auth(ESYS_TR.OWNER, b"wrong")
        esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
    assert tools.leftovers() == ""


def test_what_others_loaded_stays(chip, tools):
    with ESAPI(chip.tcti) as theirs:
        handle = theirs.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)[0]
        look(chip.tcti)
        assert "0x80000000" in tools.capability("handles-transient")
        theirs.flush_context(handle)


@pytest.mark.parametrize(
    ("mode", "group", "words"),
    [
        (0o660, 1, "Run as root \\(become\\), or as a member of the group daemon\\."),
        (0o600, 1, "Only root may use it: run with become\\."),
        (0o660, 0, "Only root may use it: run with become\\."),
        (0o640, 1, "Only root may use it: run with become\\."),
    ],
)
def test_who_may_use_a_node_is_said_by_the_node_itself(tmp_path, monkeypatch, mode, group, words):
    """Debian gives /dev/tpm0 to its user alone, so that the group of /dev/tpmrm0 would be a wrong advice."""
    node = tmp_path / "tpm0"
    node.touch()
    os.chown(node, 0, group)
    node.chmod(mode)
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    monkeypatch.setattr(f"{connection.__name__}._MANAGED", str(tmp_path / "tpmrm0"))
    with pytest.raises(connection.TpmError, match=words):
        connection._look_for_device(f"device:{node}")
