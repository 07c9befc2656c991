# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's systemctl(1): services go to the replacement that is the device's init, timers to :mod:`timers`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

# Where the rack puts it on a device, next to the replacement.
sys.path.insert(0, "/usr/lib/tpm-rack")

import timers

REPLACEMENT = ["/usr/bin/python3", timers.REPLACEMENT]
STARTING = ("start", "restart", "reload-or-restart", "try-restart")


def _show(arguments: list[str], timer: str) -> int:
    """The replacement knows the unit file of a timer, not whether the timer runs."""
    done = subprocess.run([*REPLACEMENT, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    active = timers.is_active(timer)
    text = re.sub(r"^ActiveState=.*$", f"ActiveState={'active' if active else 'inactive'}", done.stdout, flags=re.M)
    print(re.sub(r"^SubState=.*$", f"SubState={'waiting' if active else 'dead'}", text, flags=re.M), end="")
    return done.returncode


def _one_timer(verb: str, options: list[str], timer: str) -> int:
    if verb in (*STARTING, "stop", "is-active", "status") and timers.unit_settings(timer) is None:
        print(f"Unit {timer} not found.", file=sys.stderr)
        return 4 if verb in ("is-active", "status") else 5
    if verb in STARTING:
        return timers.activate(timer)
    if verb == "stop":
        return timers.deactivate(timer)
    if verb in ("is-active", "status"):
        active = timers.is_active(timer)
        if "--quiet" not in options and "-q" not in options:
            print("active" if active else "inactive")
        return 0 if active else 3
    if verb == "show":
        return _show([*options, verb, timer], timer)
    code = subprocess.run(
        [*REPLACEMENT, *(one for one in options if one != "--now"), verb, timer], check=False
    ).returncode
    if code == 0 and "--now" in options and verb in ("enable", "disable"):
        return timers.activate(timer) if verb == "enable" else timers.deactivate(timer)
    return code


def main() -> int:
    """The worst exit status of all units."""
    arguments = sys.argv[1:]
    words = [one for one in arguments if not one.startswith("-")]
    named = [one for one in words[1:] if one.endswith(".timer")]
    if not named:
        os.execv(REPLACEMENT[0], [*REPLACEMENT, *arguments])
    options = [one for one in arguments if one.startswith("-")]
    codes = [_one_timer(words[0], options, timer) for timer in named]
    others = [one for one in words[1:] if one not in named]
    if others:
        codes.append(subprocess.run([*REPLACEMENT, *options, words[0], *others], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
