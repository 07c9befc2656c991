# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that goes on when its call has ended, in processes of their own as a device has them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from contextlib import suppress

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.runtime import going_on

DEVICE_PYTHON = "/usr/bin/python3"
NAME, OTHER = "0" * 32, "1" * 32
# The module of a call: it notes that it began, takes its time where it shall, and answers when it may.
CALL = """
import importlib.util, json, os, pathlib, signal, sys, time
given = json.loads(sys.argv[1])
place = pathlib.Path(given["place"])
spec = importlib.util.spec_from_file_location("going_on", given["source"])
going_on = importlib.util.module_from_spec(spec)
sys.modules["going_on"] = going_on
spec.loader.exec_module(going_on)
going_on.DIRECTORY = str(place / "run")
impatient = []
os.geteuid = lambda: given["user"]
def end(number, frame):
    raise SystemExit(128 + number)
def module():
    # As module_utils.module.tpm has it.
    signal.signal(signal.SIGTERM, end)
    try:
        return work()
    except SystemExit as ended:
        return ended.code
def work():
    with open(place / "began", "a") as began:
        began.write(f"{os.getpid()}\\n")
    if given["slow"]:
        for seconds, function in impatient:
            function()
    while not (place / "may end").exists():
        time.sleep(0.02)
    print(json.dumps({"secret": len(given["secret"]), "answer": "\\u20ac"}))
    print("complaint", file=sys.stderr)
    return 3
when_slow = lambda seconds, function: impatient.append((seconds, function))
code = going_on.run(module, when_slow, name=given["name"], ends=given["ends"], seconds=given["seconds"])
sys.stdout.flush(); sys.stderr.flush()
os._exit(code)
"""
ANSWER = (3, {"secret": 9, "answer": "€"}, "complaint\n")


class Device:
    def __init__(self, place):
        self.place = place
        self.calls = []

    def begin(self, *, name=NAME, ends=True, slow=True, seconds=60.0, user=0):
        """A call that has begun."""
        given = {"place": str(self.place), "source": going_on.__file__, "name": name, "ends": ends, "slow": slow}
        given.update(seconds=seconds, user=user, secret="of-the-ow")
        self.calls.append(
            subprocess.Popen(
                [DEVICE_PYTHON, "-c", CALL, json.dumps(given)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        )
        return self.calls[-1]

    def call(self, **given):
        """What a call came to."""
        return came_to(self.begin(**given))

    def may_end(self):
        (self.place / "may end").touch()

    @property
    def began(self):
        """The processes in which the module began."""
        path = self.place / "began"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    @property
    def left(self):
        """What lies in the directory, by name."""
        run = self.place / "run"
        return {path.name: path.read_text() for path in run.iterdir()} if run.exists() else {}


def came_to(call):
    out, err = call.communicate(timeout=30)
    return call.returncode, json.loads(out) if out.strip() else None, err.decode()


def wait_until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_there(pid):
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def device(tmp_path):
    device = Device(tmp_path)
    yield device
    device.may_end()
    for pid in [*(call.pid for call in device.calls), *device.began]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for call in device.calls:
        call.communicate()


STILL = (going_on.STILL_AT_WORK_CODE, going_on.STILL_AT_WORK, "")


def test_one_that_is_quick_is_as_any_other_and_leaves_nothing(device):
    device.may_end()
    assert device.call(slow=False) == ANSWER
    assert device.left == {} and not (device.place / "run").exists()


def test_one_that_takes_its_time_lets_the_call_end_and_its_answer_is_taken_once(device):
    assert device.call() == STILL
    (pid,) = device.began
    assert is_there(pid) and os.getsid(pid) == pid
    assert device.left == {NAME: ""}
    second = device.begin(ends=False)
    time.sleep(0.3)
    assert second.poll() is None, "it does not wait"
    device.may_end()
    assert came_to(second) == ANSWER
    assert device.began == [pid] and device.left == {}


def test_a_call_that_may_be_left_alone_leaves_the_answer_to_the_next_one(device):
    assert device.call() == STILL
    left_alone = device.begin()
    time.sleep(0.3)
    left_alone.kill()
    device.may_end()
    assert device.call() == ANSWER
    assert device.call(ends=False) == ANSWER
    assert len(device.began) == 1 and device.left == {}


def test_nobody_but_root_can_read_what_it_leaves(device):
    assert device.call() == STILL
    run = device.place / "run"
    for path, mode in ((run, 0o700), (run / NAME, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    device.may_end()
    wait_until(lambda: device.left[NAME])
    assert "of-the-ow" not in json.dumps(device.left)


def test_another_question_is_not_given_its_answer(device):
    assert device.call() == STILL
    device.may_end()
    wait_until(lambda: device.left[NAME])
    assert device.call(name=OTHER, ends=False, slow=False) == ANSWER
    assert len(device.began) == 2 and set(device.left) == {NAME}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_work_of_one_that_died_is_done_again(device, number):
    assert device.call() == STILL
    waiting = device.begin(ends=False, slow=False)
    time.sleep(0.2)
    os.kill(device.began[0], number)
    wait_until(lambda: len(device.began) == 2)
    device.may_end()
    assert came_to(waiting) == ANSWER
    assert device.left == {}


@pytest.mark.parametrize("left", ["", '{"code"', "[1]", '[0, "a", "b", "c"]', "null"])
def test_what_is_no_answer_is_none(device, left):
    """The power of the device failed while it was written, on a /run that outlived that."""
    (device.place / "run").mkdir()
    (device.place / "run" / NAME).write_text(left)
    device.may_end()
    assert device.call(ends=False) == ANSWER
    assert len(device.began) == 1 and device.left == {}


def test_it_does_not_go_on_for_longer_than_it_may(device):
    assert device.call(seconds=0.5) == STILL
    (pid,) = device.began
    wait_until(lambda: not is_there(pid))
    assert device.left == {NAME: ""}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_call_that_is_cut_off_before_it_has_ended_takes_the_module_with_it(device, number):
    call = device.begin(slow=False)
    wait_until(lambda: device.began)
    call.send_signal(number)
    call.communicate(timeout=30)
    (pid,) = device.began
    wait_until(lambda: not is_there(pid))
    assert device.left == {}


@pytest.mark.parametrize("given", [{"user": 1000}, {"name": "../../etc/passwd"}])
def test_who_may_not_leave_anything_is_waited_for(device, given):
    call = device.begin(**given)
    wait_until(lambda: device.began)
    assert call.poll() is None and device.began == [call.pid]
    device.may_end()
    assert came_to(call) == ANSWER
    assert device.left == {}


def test_where_nothing_can_be_left_it_is_waited_for(device):
    (device.place / "run").write_text("no directory")
    call = device.begin()
    wait_until(lambda: device.began)
    time.sleep(0.3)
    assert call.poll() is None
    device.may_end()
    assert came_to(call) == ANSWER


def test_what_nobody_came_for_is_forgotten(device):
    run = device.place / "run"
    run.mkdir()
    for name, age in ((OTHER, going_on.KEPT + 60), ("2" * 32, going_on.KEPT - 60)):
        (run / name).write_text('[0, "", ""]')
        os.utime(run / name, (time.time() - age,) * 2)
    at_work = "3" * 32
    assert device.call(name=at_work) == STILL
    # By a clock that was set meanwhile.
    os.utime(run / at_work, (0, 0))
    call = device.begin(slow=False)
    wait_until(lambda: len(device.began) == 2)
    assert set(device.left) == {"2" * 32, at_work}
    device.may_end()
    assert came_to(call) == ANSWER


def test_one_that_was_told_to_end_has_no_answer_and_the_next_call_begins_anew(device):
    """A login manager ends what a user leaves behind when the connection is closed."""
    assert device.call() == STILL
    (pid,) = device.began
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_there(pid))
    assert device.left == {NAME: ""}
    device.may_end()
    assert device.call(ends=False) == ANSWER
    assert device.left == {} and len(device.began) == 2
