# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the tables of docs/speed.md, which are made of what the benches measured (tests/bench/measured.json).

``--take line=FILE``, ``--take larger=FILE`` (bench-line of this collection alone, with more devices) or ``--take
scale=FILE`` takes the line of JSON that a bench printed in; ``--check`` only says whether the document is up to date.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "tests" / "bench" / "measured.json"
DOCUMENT = ROOT / "docs" / "speed.md"
CONTENDERS = {"ours": "this collection", "naive": "playbook", "floor": "program"}
WORKERS = (1, 4, 16)
# The service's documented quota of operations, and of registrations, of an instance.
QUOTA_A_MINUTE = 1000
LARGE = 300
# What docs/examples/awx.yml sets, and what a TPM may take for the keys of steps 2 and 3: both are assumed.
FORKS = 50
TPM_SECONDS = 20
# The goals, by what is measured: at most, or at least.
GOALS = {
    "line": [
        ("All CPU, this collection ÷ program, first", "≤", 2.0),
        ("All CPU, this collection ÷ program, again", "≤", 2.5),
        ("All CPU, playbook ÷ this collection, first", "≥", 5.0),
        ("All CPU, playbook ÷ this collection, again", "≥", 7.0),
        ("Controller CPU of steps 2 and 3, seconds a device, first", "≤", 0.45),
        ("Controller CPU of steps 2 and 3, seconds a device, again", "≤", 0.45),
        ("The same at 300 devices, first", "≤", 0.3),
        ("The same at 300 devices, again", "≤", 0.3),
    ],
    "scale": [
        ("Exponent of controller CPU, step 2, first", "≤", 1.02),
        ("Exponent of controller CPU, step 2, again", "≤", 1.02),
        ("Largest process at the most devices, MB", "≤", 200.0),
        ("Step 1, milliseconds a device", "≤", 5.0),
        ("Calls that verify the most devices", "≤", 50.0),
    ],
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown; the first column is words, the others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def whence(measured: dict) -> str:
    """Of which machine, which commit, and beside what the figures are."""
    load = measured["load_before"]
    beside = "beside other work" if load > 1 else "with nothing beside it"
    return f"{measured['machine']}, commit {measured['commit']}, {beside} (load {load:.1f} when it began)."


def goals(which: str, values: list[float]) -> str:
    rows = []
    for (name, kind, goal), value in zip(GOALS[which], values):
        met = value <= goal if kind == "≤" else value >= goal
        rows.append([name, f"{kind} {goal:g}", f"{value:g}", "met" if met else "**not met**"])
    return table(["Goal", "", "Measured", ""], rows)


def a_device(run: str, line: dict, larger: dict) -> tuple[float, float]:
    """(CPU seconds of the controller for one more device, what a run costs besides), of two sizes."""
    small, large = ((one["devices"], one["devices"] * one[run]["ours"]["controller"]) for one in (line, larger))
    slope = (large[1] - small[1]) / (large[0] - small[0])
    return slope, small[1] - slope * small[0]


def line_tables(measured: dict, larger: dict) -> str:
    """What steps 2 and 3 cost with each contender."""
    rows = []
    for run in ("first", "again"):
        for name, called in CONTENDERS.items():
            told = measured[run][name]
            seconds = [f"{told[part]:.2f}" for part in ("controller", "devices", "chips", "all")]
            rows.append([f"{called}, {run}", *seconds, f"{told['executions']:.0f}", f"{told['kilobytes']:,.0f}"])
    head = ["CPU seconds a device", "Controller", "Devices", "Chips", "All", "Executions", "kB"]
    ratios = measured["ratios"]
    values = [
        *(ratios[run]["ours_to_floor"] for run in ("first", "again")),
        *(ratios[run]["naive_to_ours"] for run in ("first", "again")),
        *(round(measured[run]["ours"]["controller"], 2) for run in ("first", "again")),
    ]
    for run in ("first", "again"):
        slope, besides = a_device(run, measured, larger)
        values.append(round(slope + besides / LARGE, 2))
    told = [f"{larger[run]['ours']['controller']:.2f} s of the controller {run}" for run in ("first", "again")]
    alone = f"This collection alone with {larger['devices']} devices: {' and '.join(told)}, a device; {whence(larger)}"
    if larger["devices"] != LARGE:
        alone += f" What it would cost with {LARGE} is computed from the two sizes."
    head_line = f"{measured['devices']} devices a contender. {whence(measured)}"
    return "\n\n".join([head_line, table(head, rows), alone, goals("line", values)])


def scale_tables(measured: dict) -> str:
    """How the controller's share grows."""
    sizes = {int(size): told for size, told in measured["sizes"].items()}
    rows = []
    for size, told in sizes.items():
        cpu = [f"{told[run]['cpu']:.1f} s" for run in ("step1", "first", "again")]
        largest = max(told[run]["megabytes"] for run in told)
        rows.append([f"{size:,}", *cpu, f"{largest} MB", str(told["first"]["calls"]), str(told["again"]["calls"])])
    head = [
        "Devices",
        "CPU of step 1",
        "CPU of step 2, first",
        "again",
        "Largest process",
        "Calls, first",
        "Calls, again",
    ]
    most = sizes[max(sizes)]
    values = [
        measured["exponent"]["first"],
        measured["exponent"]["again"],
        max(run["megabytes"] for run in most.values()),
        measured["step1_milliseconds_a_device"],
        most["again"]["calls"],
    ]
    return "\n\n".join([whence(measured), table(head, rows), goals("scale", values)])


def rounded(units: float) -> str:
    """As exact as it is."""
    digits = max(0, len(str(int(units))) - 2)
    return f"{int(round(units, -digits)):,}"


def sizing(line: dict, larger: dict, scale: dict) -> str:
    """Units an hour, each limit by itself and what is left of them."""
    seconds, _besides = a_device("first", line, larger)
    sizes = {int(size): told for size, told in scale["sizes"].items()}
    small, large = sorted(sizes)[-2:]
    slope = (sizes[large]["first"]["cpu"] - sizes[small]["first"]["cpu"]) / (large - small)
    calls = sizes[large]["first"]["calls"] / large
    trips = line["first"]["ours"]["executions"]
    # Where a call for ten enrollments counts as ten, which is not documented, a new device is one operation.
    by_call, by_device = 60 * QUOTA_A_MINUTE / calls, 60 * QUOTA_A_MINUTE
    chips = 3600 * FORKS / TPM_SECONDS
    rows = []
    for workers in WORKERS:
        processor, slow = workers * 3600 / seconds, workers * chips
        least = min(processor, slow, by_device)
        limit = {processor: "controllers", slow: "TPMs", by_device: "quota"}[least]
        told = [rounded(one) for one in (workers * 3600 / slope, processor, slow, by_device)]
        rows.append([str(workers), *told, f"**{rounded(least)}** ({limit})"])
    head = ["Workers", "Step 2 without ssh, by CPU", "Steps 2 and 3, by CPU", "by slow TPMs", "Quota", "Steps 2 and 3"]
    by_sizes = f"measured, `bench-line`, from {line['devices']} to {larger['devices']}"
    by_slope = f"measured, `bench-scale`, from {small} to {large:,}"
    basis = [
        ["Controller CPU of steps 2 and 3, first", f"{seconds:.2f} s a device", by_sizes],
        ["Controller CPU of step 2, first, without ssh", f"{slope:.3f} s a device", by_slope],
        ["Executions on a device, steps 2 and 3", f"{trips:.0f}", "measured, `bench-line`"],
        ["Calls of the service a new device", f"{calls:.2f}", f"measured, `bench-scale`, {large:,} devices"],
        ["Operations a minute", f"{QUOTA_A_MINUTE:,}", "documented by the service"],
        ["Devices at work at once, a worker", str(FORKS), "assumed: `forks`"],
        ["What TPM and device take, steps 2 and 3", f"{TPM_SECONDS} s", "assumed: two keys of a slow chip"],
    ]
    words = (
        "A worker is one core that runs slices. These are computed, not measured. By CPU: 3,600 s ÷ the CPU seconds a "
        f"device × workers. By slow TPMs: {FORKS} devices at once ÷ {TPM_SECONDS} s × workers. The quota is one for "
        "all workers, and drawn in at its worse reading, where a call for ten enrollments counts as ten operations; "
        f"where it counts as one, the quota is {rounded(by_call)} units an hour. The last column is the least of them."
    )
    basis_table = "\n".join(f"| {' | '.join(row)} |" for row in [["What", "Value", "Whence"], ["---"] * 3, *basis])
    return "\n\n".join([table(head, rows), words, basis_table])


def filled(text: str, measured: dict) -> str:
    """The document with each table between its marks."""
    parts = {
        "line": line_tables(measured["line"], measured["larger"]),
        "scale": scale_tables(measured["scale"]),
        "sizing": sizing(*(measured[name] for name in ("line", "larger", "scale"))),
    }
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = marks.subn(lambda found, part=part: f"{found[1]}\n{part}\n\n{found[2]}", text)
        if count != 1:
            raise SystemExit(f"docs/speed.md has {count} places for {name}")
    return text


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for taken in arguments.take:
        name, _equals, path = taken.partition("=")
        told = json.loads(Path(path).read_text().strip().splitlines()[-1])
        git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        measured[name] = {
            "commit": subprocess.run(git, stdout=subprocess.PIPE, text=True, check=True).stdout.strip(),
            **told,
        }
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n")
    text = DOCUMENT.read_text()
    new = filled(text, measured)
    if arguments.check:
        return int(new != text)
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
