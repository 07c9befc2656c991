# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast a fleet's enrollments are planned and applied, against the emulated service on this machine.

Prints one line of JSON. For each size: records a second and seconds of a create and of a run that changes nothing, with
the quota off; the seconds of processor that it and the emulator used, which other work on the machine does not change;
and the peak memory of the process that did it (emulator not included). Then two throttled creates, a bulk call counting
as one and as ten: the share of the allowed rate that was reached, and the share of calls that the service answered with
429, with the quota as documented, for as many minutes as ``--windows`` says.

Each figure is taken by the module, in a process of its own.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

COLLECTION = Path(__file__).resolve().parents[2]
LAB_PROGRAMS = COLLECTION / "roles" / "lab" / "files"
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
OPERATIONS = 1000
SERVICE_CALLS = ("enrollments.bulk", "enrollments.query", "enrollment.get", "enrollment.put")


def endorsement_key(number: int) -> str:
    """A TPM2B_PUBLIC that no TPM has, in base64."""
    modulus = bytearray(b"".join(hashlib.sha256(b"%d/%d" % (number, part)).digest() for part in range(8)))
    modulus[0] |= 0x80
    modulus[-1] |= 1
    area = struct.pack(">HHIH", 0x0001, 0x000B, 0x000300B2, 32) + EK_POLICY
    area += struct.pack(">HHHHHIH", 0x0006, 128, 0x0043, 0x0010, 2048, 0, 256) + modulus
    return base64.b64encode(struct.pack(">H", len(area)) + area).decode()


def write_manifest(path: Path, count: int, prefix: str) -> None:
    """*count* device records, as a station exports them."""
    with path.open("w") as file:
        for number in range(count):
            record = {
                "record_version": 1,
                "registration_id": f"{prefix}-{number:07d}",
                "endorsement_key": endorsement_key(number),
                "serial_number": f"SN-{number:07d}",
                "initial_twin": {"tags": {"product": "pump", "line": number % 4}},
            }
            file.write(json.dumps(record) + "\n")


class Emulator:
    """The emulated service, started for this benchmark and ended with it."""

    def __init__(self, state_dir: Path) -> None:
        self._where = ["--state-dir", str(state_dir)]
        self._command("start", "--host", "localhost", "--port", "0")
        self.connection = json.loads((state_dir / "emulator.json").read_text())
        self._session = requests.Session()
        self._session.verify = self.connection["ca_file"]
        self._session.trust_env = False

    def _command(self, what: str, *more: str) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{LAB_PROGRAMS}:{os.environ.get('PYTHONPATH', '')}"}
        program = [sys.executable, "-m", "dps_emulator", what, *self._where, *more]
        subprocess.run(program, check=True, env=environment, stdout=subprocess.DEVNULL)

    def control(self, method: str, what: str, body: object = None) -> dict:
        """The emulator's control API."""
        answer = self._session.request(method, f"{self.connection['endpoint']}/_emulator/{what}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def cpu_seconds(self) -> float:
        """What it has used of the processors so far."""
        fields = Path(f"/proc/{self.connection['pid']}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ends it."""
        self._command("stop")


def run_here(options: dict) -> dict:
    """One run of the module in this process: its result, seconds, seconds of processor, and peak memory."""
    from ansible_collections.tpmfleet.azure_dps.plugins.modules import dps_enrollments
    from ansible_collections.tpmfleet.azure_dps.tests.module_arguments import module_arguments

    printed = io.StringIO()
    begun = time.monotonic()
    with module_arguments(options), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        dps_enrollments.main()
    seconds = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    result = json.loads(printed.getvalue())
    return {"result": result, "seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process had; ru_maxrss of a child begins with its parent's (proc(5), VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_apart(emulator: Emulator, manifest: Path) -> dict:
    """The same in a process of its own, with what it cost the emulator."""
    options = {name: emulator.connection[name] for name in ("connection_string", "ca_file")}
    command = [sys.executable, __file__, "--one", json.dumps({**options, "manifest": str(manifest)})]
    before = emulator.cpu_seconds()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout), "emulator_cpu_seconds": emulator.cpu_seconds() - before}


def figure(done: dict, action: str, count: int) -> dict:
    """What is printed of a run that must have done *action* to all."""
    assert done["result"]["counts"][action] == count, done["result"].get("msg")
    return {
        "records_per_second": round(count / done["seconds"]),
        "seconds": round(done["seconds"], 1),
        "cpu_seconds": round(done["cpu_seconds"], 1),
        "emulator_cpu_seconds": round(done["emulator_cpu_seconds"], 1),
        "peak_mb": round(done["peak_mb"]),
    }


def throttled(emulator: Emulator, directory: Path, *, window: float, windows: int, each: bool) -> dict:
    """A create that needs *windows* quotas; *each*: a bulk call costs as much as its enrollments."""
    per_window = round(OPERATIONS * window / 60)
    count = per_window * windows * (1 if each else 10)
    settings = {"throttle": True, "operations_per_window": per_window, "window_seconds": window}
    emulator.control("PUT", "settings", {**settings, "bulk_counts_each": each})
    emulator.control("DELETE", "quotas")
    emulator.control("DELETE", "stats")
    manifest = directory / "throttled.jsonl"
    write_manifest(manifest, count, f"throttled-{each}")
    done = run_apart(emulator, manifest)
    result = figure(done, "created", count)
    by_status: dict[str, int] = {}
    for operation, statuses in emulator.control("GET", "stats")["calls"].items():
        if operation in SERVICE_CALLS:
            for status, number in statuses.items():
                by_status[status] = by_status.get(status, 0) + number
    calls = sum(by_status.values())
    operations = (count if each else count // 10) + (calls - by_status.get("429", 0) - count // 10)
    # The first quota is there at once; every further one takes a window. So this is the least that it can take, and
    # the last part of a window is spent only as far as it is needed.
    least = window * ((operations - 1) // per_window)
    result["share_of_allowed"] = round(min(1.0, least / done["seconds"]), 3)
    result["answered_429"] = round(by_status.get("429", 0) / calls, 4)
    emulator.control("PUT", "settings", {"throttle": False, "bulk_counts_each": False})
    return result


def main() -> None:
    """Runs all and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--window", type=float, default=60.0, help="seconds that the throttled quota looks back")
    parser.add_argument("--windows", type=int, default=3, help="how many windows the throttled create takes; 0: none")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(run_here(options.one)))
        return
    result: dict = {"machine": {"cpus": os.cpu_count()}, "sizes": {}}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for size in options.sizes:
            # A service of its own for each size: a list is as long as what is in it.
            emulator = Emulator(directory / f"emulator-{size}")
            try:
                emulator.control("PUT", "settings", {"throttle": False})
                manifest = directory / f"{size}.jsonl"
                write_manifest(manifest, size, "unit")
                result["sizes"][str(size)] = {
                    "create": figure(run_apart(emulator, manifest), "created", size),
                    "no_change": figure(run_apart(emulator, manifest), "unchanged", size),
                }
                manifest.unlink()
            finally:
                emulator.stop()
        if options.windows:
            emulator = Emulator(directory / "emulator-throttled")
            try:
                how = {"window": options.window, "windows": options.windows}
                result["throttled"] = {
                    "window_seconds": options.window,
                    "bulk_counts_one": throttled(emulator, directory, each=False, **how),
                    "bulk_counts_each": throttled(emulator, directory, each=True, **how),
                }
            finally:
                emulator.stop()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    main()
