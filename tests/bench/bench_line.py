# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What steps 2 and 3 of the line cost, beside a competent playbook of tpm2-tools and a program written by hand.

Prints one line of JSON, and draws it. Each of the three has DEVICES devices of one rack to itself and does the same
work on them: read the endorsement key and hold it against the maker's list and certificate, enroll, claim ownership,
have the TPM prove that it holds the key, place the client, record it. First over new devices, then again where all is
done, the three by turns in one run; of several runs the median is told.

CPU seconds are those of control groups, so that other work on the machine changes them little: of the controller
(what the contender started here), of the devices (sshd and what it runs), of the chips (swtpm, which with a real one is
no CPU at all) and of the emulated service. Executions are counted in the logs of the devices' sshd, bytes at their
ports. This collection's bytecode is there, as Ansible's is, from the second run of any playbook on.
"""

from __future__ import annotations

import argparse
import base64
import compileall
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(COLLECTION / "roles" / "lab" / "files")]

from bars import draw  # noqa: E402
from control_groups import ControlGroups, tree  # noqa: E402
from relay import Relay  # noqa: E402
from tpm_rack.rack import Rack  # noqa: E402

CONTENDERS = ("ours", "naive", "floor")
PARTS = ("controller", "devices", "chips", "service")
CLIENT = COLLECTION / "roles" / "dps_client" / "files"
TOOLS = Path(sys.executable).parent


def client_program(path: Path) -> bytes:
    """The client that all three place."""
    from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program

    path.write_bytes(build_program("/usr/bin/python3"))
    return path.read_bytes()


class Bench:
    """A lab with as many devices for each contender, and what is measured on it."""

    def __init__(self, directory: Path, devices: int, contenders: list[str]) -> None:
        self.directory = directory
        self.devices = devices
        self.contenders = contenders
        self.lab_dir = directory / "lab"
        self.groups = ControlGroups(PARTS)
        self._log = directory / "log"

    def start(self) -> None:
        """The lab, and what the contenders are given."""
        count = self.devices * len(self.contenders)
        self._ansible("playbooks/lab_up.yml", "-e", f"lab_dir={self.lab_dir}", "-e", f"lab_devices={count}")
        named = self.lab = json.loads((self.lab_dir / "lab.json").read_text())["devices"]
        self.rack = Rack(self.lab_dir / "rack")
        parts = [named[begin : begin + self.devices] for begin in range(0, count, self.devices)]
        self.of = dict(zip(self.contenders, parts))
        self.relay = Relay([one["ssh"]["port"] for one in named])
        for one in named:
            device = self.rack.device(one["name"])
            self.groups.take_in("devices", tree(device.pid))
            self.groups.take_in("chips", [device.tpm.pid])
        self.service = json.loads((self.lab_dir / "dps" / "emulator.json").read_text())
        self.groups.take_in("service", tree(self.service["pid"]))
        self.client = client_program(self.directory / "client.pyz")
        self._write_inventory()
        self._write_settings()

    # -- what the contenders are given --------------------------------------------------------------------------------

    def _write_inventory(self) -> None:
        """The lab's, with the relay's ports."""
        known = self.directory / "known_hosts"
        lines = (self.lab_dir / "rack" / "known_hosts").read_text()
        for port, stands_for in self.relay.standing_for.items():
            lines = lines.replace(f"[127.0.0.1]:{port} ", f"[127.0.0.1]:{stands_for} ")
        known.write_text(lines)
        for one in self.lab:
            one["relay"] = self.relay.standing_for[one["ssh"]["port"]]
        groups = {
            f"bench_{name}": {
                "hosts": {
                    one["name"]: {
                        "ansible_port": one["relay"],
                        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known}",
                    }
                    for one in devices
                }
            }
            for name, devices in self.of.items()
        }
        (self.directory / "bench.json").write_text(json.dumps(groups))
        self.known_hosts = known

    def _write_settings(self) -> None:
        settings = {
            "id_scope": self.service["id_scope"],
            "global_endpoint": self.service["endpoint"],
            "ca_file": "/etc/tpmfleet-dps-client/ca.pem",
            "first_attempt_spread": 2.0,
        }
        rack = json.loads((self.lab_dir / "rack" / "rack.json").read_text())
        roots = self.directory / "roots.pem"
        roots.write_text("".join(Path(one).read_text() for one in rack["ek_certificate_roots"]))
        ek_list = self.lab_dir / "rack" / "ek-list.jsonl"
        naive = {
            "naive_records": str(self.directory / "naive-records"),
            "naive_listed": [json.loads(line)["endorsement_key"] for line in ek_list.read_text().splitlines()],
            "naive_roots": str(roots),
            "naive_service": self.service["endpoint"].removeprefix("https://"),
            "naive_client": str(self.directory / "client.pyz"),
            "naive_client_settings": settings,
            "naive_units": str(CLIENT / "units"),
        }
        (self.directory / "naive.json").write_text(json.dumps(naive))
        ca = Path(self.service["ca_file"]).read_bytes()
        files = {
            "/usr/bin/tpmfleet-dps-client": (0o755, self.client),
            "/etc/tpmfleet-dps-client/ca.pem": (0o644, ca),
            **{f"/etc/systemd/system/{one.name}": (0o644, one.read_bytes()) for one in (CLIENT / "units").iterdir()},
        }
        for step in (2, 3):
            devices = [
                {**one, "ssh": {**one["ssh"], "port": one["relay"], "known_hosts_file": str(self.known_hosts)}}
                for one in self.of.get("floor", [])
            ]
            job = {
                "step": step,
                "devices": devices,
                "connection_string": self.service["connection_string"],
                "ca_file": self.service["ca_file"],
                "ledger": str(self.directory / "floor.sqlite"),
                "ek_list": str(ek_list),
                "roots": [str(one) for one in rack["ek_certificate_roots"]],
                "master_key": (self.lab_dir / "master-key").read_text().strip(),
                "client": settings,
                "configuration": "/etc/tpmfleet-dps-client/config.json",
                "files": {path: (mode, base64.b64encode(data).decode()) for path, (mode, data) in files.items()},
            }
            (self.directory / f"floor{step}.json").write_text(json.dumps(job))

    # -- their steps --------------------------------------------------------------------------------------------------

    def _command(self, contender: str, step: int) -> list[str]:
        if contender == "floor":
            return [
                sys.executable,
                "-W",
                "ignore",
                str(HERE / "floor" / "floor.py"),
                str(self.directory / f"floor{step}.json"),
            ]
        where = [
            "-i",
            "inventories/lab",
            "-i",
            str(self.lab_dir / "inventory.yml"),
            "-i",
            str(self.directory / "bench.json"),
        ]
        ansible = [str(TOOLS / "ansible-playbook"), *where]
        if contender == "naive":
            return [*ansible, str(HERE / "naive" / f"step{step}.yml"), "-e", f"@{self.directory / 'naive.json'}"]
        playbook = {1: "ek_intake", 2: "tpm_install", 3: "software_install"}[step]
        return [*ansible, f"playbooks/{playbook}.yml", "-e", "tpmfleet_hosts=bench_ours"]

    def _ansible(self, *arguments: str) -> None:
        self._run([str(TOOLS / "ansible-playbook"), *arguments], None)

    def _run(self, command: list[str], group: str | None) -> str:
        said_in_full = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
        environment = {**os.environ, **said_in_full, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
        done = subprocess.run(
            command,
            cwd=COLLECTION,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            preexec_fn=None if group is None else lambda: self.groups.enter(group),
        )
        with self._log.open("a") as log:
            log.write(done.stdout)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}")
        return done.stdout

    def prepare(self) -> None:
        """Step 1 of ours; the two others read the maker's list as it is."""
        if "ours" in self.of:
            self._run(self._command("ours", 1), "controller")

    def measure(self, contender: str, *, changes: bool) -> dict[str, float]:
        """Steps 2 and 3 of one contender: seconds, executions and kB a device, and wall seconds of the rack."""
        devices = [self.rack.device(one["name"]) for one in self.of[contender]]
        ports = [one["ssh"]["port"] for one in self.of[contender]]
        before = self.groups.seconds()
        executions = sum(device.executions for device in devices)
        sent = sum(self.relay.bytes[port] for port in ports)
        begun = time.monotonic()
        told = [self._run(self._command(contender, step), "controller") for step in (2, 3)]
        wall = time.monotonic() - begun
        cpu = {name: (after - before[name]) / self.devices for name, after in self.groups.seconds().items()}
        quiet = all('"changed": 0' in said if contender == "floor" else _unchanged(said) for said in told)
        if quiet is changes:
            raise SystemExit(f"{contender} changed {'nothing in its first run' if changes else 'something again'}")
        return {
            **cpu,
            "all": sum(cpu.values()),
            "wall": wall,
            "executions": (sum(device.executions for device in devices) - executions) / self.devices,
            "kilobytes": (sum(self.relay.bytes[port] for port in ports) - sent) / self.devices / 1000,
        }

    def end(self) -> None:
        """Nothing of it is left."""
        # What holds a device is ended by the rack, which knows of it; what is left then is not missed.
        self._ansible("playbooks/lab_down.yml", "-e", f"lab_dir={self.lab_dir}")
        self.groups.end()


def _unchanged(said: str) -> bool:
    recap = said[said.rindex("PLAY RECAP") :]
    return "changed=" in recap and "changed=" not in recap.replace("changed=0 ", "")


def machine() -> str:
    """What the figures are of."""
    model = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{os.cpu_count()} x {model[0] if model else platform.machine()}, Linux {platform.release()}"


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=16, help="for each contender")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each that change nothing")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--plot", type=Path, default=Path("bench-line.svg"))
    arguments = parser.parse_args()
    contenders = arguments.contenders.split(",")
    load = os.getloadavg()[0]
    compileall.compile_dir(Path(__file__).parents[2] / "plugins", quiet=1)
    with tempfile.TemporaryDirectory(prefix="bench-line-") as directory:
        bench = Bench(Path(directory), arguments.devices, contenders)
        try:
            bench.start()
            bench.prepare()
            first = {name: median([bench.measure(name, changes=True)]) for name in contenders}
            turns: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
            for _round in range(arguments.rounds):
                for name in contenders:
                    turns[name].append(bench.measure(name, changes=False))
            again = {name: median(runs) for name, runs in turns.items()}
        finally:
            bench.end()
    result = {"machine": machine(), "load_before": load, "devices": arguments.devices, "first": first, "again": again}
    if set(contenders) == set(CONTENDERS):
        ratios = {
            run: {
                "ours_to_floor": round(told["ours"]["all"] / told["floor"]["all"], 2),
                "naive_to_ours": round(told["naive"]["all"] / told["ours"]["all"], 2),
            }
            for run, told in (("first", first), ("again", again))
        }
        result["ratios"] = ratios
    bars = {
        f"{name} {run}": {part: told[name][part] for part in PARTS}
        for run, told in (("first", first), ("again", again))
        for name in contenders
    }
    draw(arguments.plot, f"Steps 2 and 3, {arguments.devices} devices", "CPU seconds a device", bars)
    print(f"drawn: {arguments.plot}", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    main()
