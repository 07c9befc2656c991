# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rack from the command line: ``python -m tpm_rack COMMAND --rack-dir DIRECTORY``. Answers are JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .debian_root import RootError, made_root
from .device import DeviceError
from .faults import FAULTS
from .machine_image import made_image
from .rack import Rack, RackError
from .software_tpm import SoftwareTpmError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tpm_rack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_)
        sub.add_argument("--rack-dir", type=Path, required=True)
        return sub

    up = command("up", "see to it that there are that many devices, all switched on")
    up.add_argument("--devices", type=int, required=True)
    up.add_argument("--name-prefix", default="rack1-slot")
    up.add_argument(
        "--hide", type=Path, action="append", default=[], help="a directory of the host that no device sees"
    )
    up.add_argument("--machines", action="store_true", help="new devices are real machines, by QEMU")
    up.add_argument(
        "--suite",
        action="append",
        default=[],
        metavar="RELEASE[/ARCHITECTURE]",
        help="what of Debian new devices, in turn, are made of, such as bullseye or bookworm/arm64",
    )
    up.add_argument("--images", type=Path, help="where images are kept, and made where they are not")
    up.add_argument("--mirror", action="append", default=[], help="what mmdebstrap takes an image's packages from")
    up.add_argument("--service-host", default="localhost", help="a name by which real machines find this host")
    down = command("down", "end everything and remove it")
    down.add_argument("--keep", action="store_true", help="remove nothing, so that up finds the same devices again")
    command("add", "put one more device in").add_argument("name")
    command("remove", "take a device out").add_argument("name")
    for name in ("power-cycle", "power-off", "power-on"):
        powering = command(name, f"{name} the named devices, or all")
        which = powering.add_mutually_exclusive_group(required=True)
        which.add_argument("names", nargs="*", default=[])
        which.add_argument("--all", action="store_true")
    command("status", "what is switched on, what answers, what is broken")
    faults = "; ".join(f"{name}: {fault.summary}" for name, fault in FAULTS.items())
    breaking = command("break", faults)
    breaking.add_argument("name")
    breaking.add_argument("fault", choices=FAULTS)
    breaking.add_argument("argument", nargs="?")
    mending = command("mend", "undo a fault, or all of a device")
    mending.add_argument("name")
    mending.add_argument("fault", nargs="?", choices=FAULTS)
    execute = command("exec", "run a command inside a device, from its console")
    execute.add_argument("name")
    execute.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _act(rack: Rack, arguments: argparse.Namespace) -> object:
    if arguments.command == "up":
        images, mirrors, machines = arguments.images or rack.directory / "images", arguments.mirror, None
        if arguments.machines:
            machines = (made_image(images, mirrors=mirrors), arguments.service_host)
        roots = [made_root(images, suite, mirrors) for suite in arguments.suite]
        return {"changed": rack.up(arguments.devices, arguments.name_prefix, arguments.hide, machines, roots)}
    if arguments.command == "down":
        return {"changed": rack.down(arguments.keep)}
    if arguments.command == "status":
        return rack.status()
    if arguments.command in ("add", "remove"):
        getattr(rack, arguments.command)(arguments.name)
    elif arguments.command == "break":
        rack.break_(arguments.name, arguments.fault, arguments.argument)
    elif arguments.command == "mend":
        rack.mend(arguments.name, arguments.fault)
    else:
        getattr(rack, arguments.command.replace("-", "_"))(arguments.names)
    return {"changed": True}


def main() -> int:
    """0, or 1 with a sentence on standard error."""
    arguments = _parser().parse_args()
    rack = Rack(arguments.rack_dir)
    try:
        if arguments.command == "exec":
            done = rack.device(arguments.name).execute([one for one in arguments.arguments if one != "--"])
            print(done.stdout, end="")
            return done.returncode
        print(json.dumps(_act(rack, arguments)))
    except (RackError, DeviceError, SoftwareTpmError, RootError) as error:
        print(f"tpm_rack: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
