# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the controller's share of the line grows with the rack: step 1 and 2 over made-up devices, 10 to 1,000 in a play.

Prints one line of JSON. A made-up device answers what a real one of the lab was heard to answer, with an endorsement
key and a certificate of its own, which are checked as every device's. Told for each size, of a first run and of one
that only verifies: CPU seconds of the controller (by a control group), wall seconds, the largest process, and the calls
of the service. ``exponent`` is that of the controller's CPU between the two largest sizes: 1 where a device costs the
same in any rack.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
LAB_PROGRAMS = COLLECTION / "roles" / "lab" / "files"
sys.path[:0] = [str(HERE), str(LAB_PROGRAMS)]

from bench_line import machine  # noqa: E402
from control_groups import ControlGroups  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402

TOOLS = Path(sys.executable).parent
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
# What swtpm's own certificates say (TCG EK Credential Profile, 3.2): a certificate of another TPM would be told.
SWTPM = {"2.23.133.2.1": "id:00001014", "2.23.133.2.2": "swtpm", "2.23.133.2.3": "id:20191023"}
RECORDER = """\
#!/bin/bash
set -o pipefail
/usr/bin/ssh "$@" | tee -a {heard}
"""


def tpm_maker():
    """Who certifies the made-up TPMs: the tests' own maker."""
    path = COLLECTION / "tests" / "unit" / "plugins" / "conftest.py"
    specification = importlib.util.spec_from_file_location("tpmfleet_test_makers", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.TpmMaker("Bench")


def moduli(count: int):
    """Moduli of RSA-2048 keys, all different: each of two primes of a few hundred, since to find some takes a while."""
    keys = [rsa.generate_private_key(65537, 2048) for _key in range(math.isqrt(count // 2) + 2)]
    primes = [prime for key in keys for prime in (key.private_numbers().p, key.private_numbers().q)]
    return itertools.islice((p * q for p, q in itertools.combinations(primes, 2)), count)


def derived(public: bytes) -> dict[str, str]:
    """What follows from an endorsement key, in the forms in which devices say it."""
    digest = hashlib.sha256(public)
    return {
        "public": base64.b64encode(public).decode(),
        "sha256": digest.hexdigest(),
        "registration_id": base64.b32encode(digest.digest()).decode().rstrip("=").lower(),
        "name": "000b" + hashlib.sha256(public[2:]).hexdigest(),
    }


def endorsement_key(modulus: int) -> bytes:
    """The TPM2B_PUBLIC with *modulus*."""
    area = struct.pack(">HHIH", 0x0001, 0x000B, 0x000300B2, 32) + EK_POLICY
    area += struct.pack(">HHHHHIH", 0x0006, 128, 0x0043, 0x0010, 2048, 0, 256) + modulus.to_bytes(256, "big")
    return struct.pack(">H", len(area)) + area


class Heard:
    """What a real device of the lab answers to step 2, and its own values in it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "heard"
        lab = directory / "lab"
        recorder = directory / "ssh"
        recorder.write_text(RECORDER.format(heard=self.path))
        recorder.chmod(0o755)
        try:
            _ansible("playbooks/lab_up.yml", "-e", f"lab_dir={lab}", "-e", "lab_devices=1")
            inventory = ["-i", "inventories/lab", "-i", str(lab / "inventory.yml")]
            _ansible(*inventory, "playbooks/ek_intake.yml")
            alone = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_SSH_EXECUTABLE": str(recorder)}
            _ansible(*inventory, "playbooks/tpm_install.yml", **alone)
            [shipped] = [json.loads(line) for line in (lab / "rack" / "ek-list.jsonl").read_text().splitlines()]
        finally:
            _ansible("playbooks/lab_down.yml", "-e", f"lab_dir={lab}")
        own = derived(base64.b64decode(shipped["endorsement_key"]))
        self.own = {**own, "certificate": shipped["endorsement_key_certificate"]}
        told = self.path.read_text()
        missing = [name for name in ("public", "certificate") if self.own[name] not in told]
        if missing:
            raise SystemExit(f"the real device was not heard to say its {' and '.join(missing)}")


class Largest:
    """The largest resident size of any process of a control group, in MB, looked at while it runs."""

    def __init__(self, groups: ControlGroups, name: str) -> None:
        self.megabytes = 0.0
        self._groups, self._name = groups, name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Largest:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            for pid in self._groups.pids(self._name):
                with contextlib.suppress(OSError):
                    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                        if line.startswith("VmHWM:"):
                            self.megabytes = max(self.megabytes, int(line.split()[1]) / 1024)


def _ansible(*arguments: str, groups: ControlGroups | None = None, **environment: str) -> None:
    done = subprocess.run(
        [str(TOOLS / "ansible-playbook"), *arguments],
        cwd=COLLECTION,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=None if groups is None else lambda: groups.enter("controller"),
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stdout[-3000:]}")


class Bench:
    """The service, and racks of made-up devices before it."""

    def __init__(self, directory: Path, most: int) -> None:
        self.directory = directory
        self.groups = ControlGroups(["controller"])
        self.most = most

    def start(self) -> None:
        """Hears a real device, and starts the service."""
        directory = self.directory
        self.heard = Heard(directory)
        self.maker = tpm_maker()
        self.roots = directory / "roots.pem"
        self.roots.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (self.maker.root, self.maker.issuer)))
        self.moduli = moduli(self.most)
        settings = directory / "settings.json"
        settings.write_text(json.dumps({"throttle": False}))
        self._emulator("start", "--host", "localhost", "--port", "0", "--settings", str(settings))
        self.service = json.loads((directory / "dps" / "emulator.json").read_text())

    def _emulator(self, command: str, *arguments: str) -> None:
        program = [sys.executable, "-m", "dps_emulator", command, "--state-dir", str(self.directory / "dps")]
        environment = {**os.environ, "PYTHONPATH": str(LAB_PROGRAMS)}
        subprocess.run([*program, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)

    def rack(self, count: int) -> None:
        """Makes *count* devices up, for the plays that follow."""
        place = self.directory / f"rack{count}"
        devices = place / "devices"
        devices.mkdir(parents=True)
        hosts, listed = {}, []
        for number, modulus in enumerate(itertools.islice(self.moduli, count), 1):
            own = derived(endorsement_key(modulus))
            public_key = rsa.RSAPublicNumbers(65537, modulus).public_key()
            certificate = self.maker.certify(public_key, tpm=SWTPM).public_bytes(Encoding.DER)
            own["certificate"] = base64.b64encode(certificate).decode()
            name = f"made-up-{number:04d}"
            (devices / f"{name}.json").write_text(json.dumps({self.heard.own[what]: own[what] for what in own}))
            hosts[name] = {"tpmfleet_serial_number": f"R{count}-{number:06d}"}
            listed.append({"endorsement_key": own["public"], "maker": "Bench", "batch": str(count)})
        (place / "ek-list.jsonl").write_text("".join(json.dumps(one) + "\n" for one in listed))
        variables = {
            "ansible_connection": "made_up",
            "ansible_user": "root",
            "tpmfleet_dps_connection_string": self.service["connection_string"],
            "tpmfleet_dps_ca_file": self.service["ca_file"],
            "tpmfleet_dps_id_scope": self.service["id_scope"],
            "tpmfleet_dps_global_endpoint": self.service["endpoint"],
            "tpmfleet_ledger": str(place / "ledger.sqlite"),
            "tpmfleet_ek_list": str(place / "ek-list.jsonl"),
            "tpmfleet_ek_certificate_roots": [str(self.roots)],
            "tpmfleet_master_key": "0123456789abcdefghijklmnopqrstuvwxyzABCD",
        }
        (place / "hosts.json").write_text(json.dumps({"devices": {"hosts": hosts, "vars": variables}}))
        self._environment = {
            "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection"),
            "BENCH_HEARD": str(self.heard.path),
            "BENCH_DEVICES": str(devices),
        }
        self._inventory = ["-i", "inventories/lab", "-i", str(place / "hosts.json")]

    def measure(self, playbook: str) -> dict[str, float]:
        """One play over the rack that was made last."""
        before, calls, begun = self.groups.seconds()["controller"], self._calls(), time.monotonic()
        with Largest(self.groups, "controller") as largest:
            arguments = [*self._inventory, f"playbooks/{playbook}.yml"]
            _ansible(*arguments, groups=self.groups, **self._environment)
        return {
            "cpu": round(self.groups.seconds()["controller"] - before, 2),
            "wall": round(time.monotonic() - begun, 1),
            "megabytes": round(largest.megabytes),
            "calls": self._calls() - calls,
        }

    def _calls(self) -> int:
        import requests

        session = requests.Session()
        session.trust_env = False
        found = session.get(f"{self.service['endpoint']}/_emulator/stats", verify=self.service["ca_file"], timeout=30)
        return sum(sum(by_status.values()) for by_status in found.json()["calls"].values())

    def end(self) -> None:
        """Nothing of it is left."""
        self._emulator("stop")
        self.groups.end()


def exponent(small: int, large: int, costs: dict[int, float]) -> float:
    """Of the cost between two sizes."""
    return round(math.log(costs[large] / costs[small]) / math.log(large / small), 3)


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10,100,300,1000")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    load = os.getloadavg()[0]
    told = {}
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as directory:
        bench = Bench(Path(directory), sum(sizes))
        try:
            bench.start()
            for size in sizes:
                bench.rack(size)
                told[size] = {
                    "step1": bench.measure("ek_intake"),
                    "first": bench.measure("tpm_install"),
                    "again": bench.measure("tpm_install"),
                }
                print(f"{size}: {json.dumps(told[size])}", file=sys.stderr)
        finally:
            bench.end()
    result = {"machine": machine(), "load_before": load, "sizes": told}
    if len(sizes) > 1:
        small, large = sizes[-2:]
        cost = {run: {size: told[size][run]["cpu"] for size in sizes} for run in ("step1", "first", "again")}
        result["exponent"] = {run: exponent(small, large, cost[run]) for run in ("first", "again")}
        grown = cost["step1"][large] - cost["step1"][sizes[0]]
        result["step1_milliseconds_a_device"] = round(1000 * grown / (large - sizes[0]), 2)
    print(json.dumps(result))


if __name__ == "__main__":
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    main()
