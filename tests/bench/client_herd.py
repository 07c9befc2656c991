# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A herd of field clients that power up together, against a throttled service: who ends assigned, at what price.

``make bench-herd``; it starts an emulated service of its own.

The clients are the real client's registration code, back-off and connection handling, each with a state directory of
its own, run as threads; only the chip is shared: one software TPM serves all under as many registration IDs, as a
thousand of them do not fit a workbench. The last line is JSON; ``calls_per_needed`` is calls seen over needed, and
``needed`` is two to register and one poll for each. The quota is the documented rate, 1,000 registrations a minute, in
a shorter window, so that it binds from the start.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
LAB_PROGRAMS = COLLECTION / "roles" / "lab" / "files"
sys.path.insert(0, str(LAB_PROGRAMS))

PERSISTED = ((0x81010001, "endorsement"), (0x81000001, "storage"))


def open_service(announcement: dict):
    """The tests' own client of the service API and of the control API."""
    specification = importlib.util.spec_from_file_location("shared_fixtures", COLLECTION / "tests" / "conftest.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.Dps(announcement)


def load_client(directory: Path):
    """Imports the built program, as it is placed on devices, with one turn at a time for the shared TPM."""
    from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program

    program = directory / "client.pyz"
    program.write_bytes(build_program(sys.executable))
    sys.path.insert(0, str(program))
    from tpmfleet_dps_client import chip, cli

    turn, opened = threading.RLock(), chip.Chip.opened

    @contextlib.contextmanager
    def in_turn(self):
        with turn, opened(self) as keys:
            yield keys

    chip.Chip.opened = in_turn
    cli._say = lambda _sentence: None
    return chip, cli


def persist_keys(chip, configuration) -> None:
    """What ownership does in the factory, so that the shared TPM is quick."""
    from tpm2_pytss.constants import ESYS_TR

    with chip.Chip(configuration).opened() as keys:
        for handle, name in PERSISTED:
            keys.esys.evict_control(ESYS_TR.OWNER, getattr(keys, name)[0], handle)


def enroll(dps, registration_ids: list[str], endorsement_key: bytes) -> None:
    """Ten at a time."""
    key = base64.b64encode(endorsement_key).decode()
    for at in range(0, len(registration_ids), 10):
        enrollments = [
            {"registrationId": name, "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}}}
            for name in registration_ids[at : at + 10]
        ]
        done = dps.call("POST", "/enrollments", {"mode": "create", "enrollments": enrollments})
        assert done["isSuccessful"], done


@contextlib.contextmanager
def emulated_service(directory: Path):
    """A running one: its announcement."""
    program = [sys.executable, "-m", "dps_emulator"]
    where = ["--state-dir", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(LAB_PROGRAMS)}
    run = functools.partial(subprocess.run, env=environment, check=True, stdout=subprocess.DEVNULL)
    run([*program, "start", *where, "--host", "localhost", "--port", "0"])
    try:
        yield json.loads((directory / "emulator.json").read_text())
    finally:
        run([*program, "stop", *where])


def herd(directory: Path, service: dict, arguments: argparse.Namespace) -> dict:
    """Runs it: what is printed."""
    from tpm_rack.software_tpm import SoftwareTpm

    chip, cli = load_client(directory)
    from tpmfleet_dps_client.configuration import Configuration

    dps = open_service(service)
    tpm = SoftwareTpm(directory / "tpm")
    tpm.manufacture(certificate=False)
    tpm.start()
    try:
        common = {"id_scope": service["id_scope"], "global_endpoint": service["endpoint"], "tcti": tpm.tcti}
        common.update(ca_file=service["ca_file"], first_attempt_spread=arguments.spread)
        common.update(tpm_timeout=3600.0, backoff_base=2.0)
        one = Configuration(**common, state_directory=str(directory))
        persist_keys(chip, one)
        names = [f"herd-{number:05d}-{time.time_ns():x}" for number in range(arguments.clients)]
        dps.settings(throttle=False)
        enroll(dps, names, chip.Chip(one).endorsement_key)
        dps.settings(throttle=True, registrations_per_window=arguments.registrations, window_seconds=arguments.window)
        before = device_calls(dps)
        ended: dict[str, float] = {}
        start = time.monotonic()

        def run(name: str) -> None:
            state = directory / name
            state.mkdir(mode=0o700)
            client = cli.Client(Configuration(**common, registration_id=name, state_directory=str(state)))
            if client.register(argparse.Namespace(once=False, within=None)) == 0:
                ended[name] = time.monotonic() - start

        threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
            time.sleep(arguments.within / len(threads))
        for thread in threads:
            thread.join(max(0.0, start + arguments.timeout - time.monotonic()))
        calls = device_calls(dps) - before
    finally:
        tpm.stop()
    needed = 3 * len(names)
    return {
        "clients": len(names),
        "assigned": len(ended),
        "seconds": round(max(ended.values(), default=0.0), 1),
        "calls": calls,
        "needed": needed,
        "calls_per_needed": round(calls / needed, 2),
    }


def device_calls(dps) -> int:
    """All calls of the device API that the service saw."""
    return sum(count for name, count in dps.calls().items() if name.startswith("device."))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--within", type=float, default=10.0, help="seconds in which all are powered up")
    parser.add_argument("--registrations", type=int, default=100, help="what the service takes in a window")
    parser.add_argument("--window", type=float, default=6.0, help="seconds")
    parser.add_argument("--spread", type=float, default=30.0, help="the clients' first_attempt_spread")
    parser.add_argument("--timeout", type=float, default=900.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, emulated_service(Path(directory) / "dps") as service:
        sys.stdout.write(json.dumps(herd(Path(directory), service, arguments)) + "\n")


if __name__ == "__main__":
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    main()
