# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the client. Exit codes: 0 done; 1 an error; 75 not assigned, worth another try; 77 refused."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import random
import sys
import time
from pathlib import Path
from typing import Any

from . import VERSION
from .backoff import delay
from .clock import Clock
from .configuration import DEFAULT_PATH, Configuration, read_configuration
from .errors import EXIT_ERROR, EXIT_OK, EXIT_REFUSED, EXIT_TRY_AGAIN, ClientError
from .state import State


def _say(sentence: str) -> None:
    """To the journal, which adds the time."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def _become_owner(directory: Path) -> None:
    """Goes on as the owner of the state directory where root started this, so that what is written stays its own."""
    owner = directory.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return
    user = pwd.getpwuid(owner)
    os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
    os.setgid(user.pw_gid)
    os.setuid(owner)


def _shown(assignment: dict[str, Any] | None) -> dict[str, Any]:
    """What of an assignment is for other eyes."""
    names = (
        "registration_id id_scope global_endpoint assigned_hub device_id substatus etag created last_updated"
        " assigned_at"
    )
    return {name: assignment.get(name) for name in names.split()} if assignment else {}


class Client:
    """The commands, over one configuration and one state directory."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        directory = Path(configuration.state_directory)
        if not directory.is_dir():
            raise ClientError(f"there is no state directory {directory}")
        _become_owner(directory)
        self._state = State(directory)
        self._clock = Clock(self._state)

    def register(self, arguments: argparse.Namespace) -> int:
        """Until assigned; with ``--once`` one attempt."""
        return self._until_assigned(anew=False, once=arguments.once)

    def reprovision(self, arguments: argparse.Namespace) -> int:
        """As ``register``, and an assignment that is held does not count."""
        return self._until_assigned(anew=True, once=arguments.once)

    def _until_assigned(self, *, anew: bool, once: bool) -> int:
        failures = 0
        while True:
            try:
                with self._state.locked():
                    self._attempt(anew=anew, spread=not once and not anew and not failures)
                return EXIT_OK
            except ClientError as error:
                failures += 1
                wait = delay(self._configuration, failures, error)
                words = "Not assigned: {}.".format(str(error).rstrip("."))
                state = "refused" if error.refused else "waiting"
                self._note(state, words, failures=failures, wait=None if once else wait)
                if once:
                    _say(words)
                    return EXIT_REFUSED if error.refused else EXIT_TRY_AGAIN
                _say(f"{words} Next attempt in {wait:.0f} s.")
                time.sleep(wait)

    def _attempt(self, *, anew: bool, spread: bool) -> None:
        """One attempt, under the lock; with *spread* after a random wait, which the first of a boot is to have."""
        from .registration import Registration

        registration = Registration(self._configuration, state=self._state, clock=self._clock)
        held = None if anew else registration.held()
        if held is not None:
            words = "Already assigned to {} as {}; nothing to do.".format(held["assigned_hub"], held["device_id"])
            self._note("assigned", words)
            _say(words)
            return
        if spread and self._configuration.first_attempt_spread:
            wait = random.uniform(0, self._configuration.first_attempt_spread)
            self._note("waiting", "Not assigned yet; the first attempt is on its way.", wait=wait)
            _say(f"Not assigned yet. First attempt in {wait:.1f} s.")
            time.sleep(wait)
        self._note("registering", f"Asking {self._configuration.global_endpoint} for an assignment.")
        assignment = registration.register()
        words = "Assigned to {} as {}.".format(assignment["assigned_hub"], assignment["device_id"])
        self._note("assigned", words)
        _say(words)

    def _note(self, state: str, words: str, *, failures: int = 0, wait: float | None = None) -> None:
        """Writes the status; a status that cannot be written is said and stops nothing."""
        now = time.time()
        status = {"state": state, "message": words, "failures": failures, "updated_at": int(now)}
        status["next_attempt_at"] = None if wait is None else int(now + wait)
        try:
            self._state.write_status(status)
        except ClientError as error:
            _say(f"The status was not written: {error}.")

    def status(self, arguments: argparse.Namespace) -> int:
        """What was noted last, and the assignment."""
        assignment = self._state.assignment()
        noted = self._state.status() or {"state": "never run", "message": "The client has not run yet."}
        if arguments.json:
            shown = {**noted, "version": VERSION, "assignment": _shown(assignment) or None}
            sys.stdout.write(json.dumps(shown, indent=1, sort_keys=True) + "\n")
        else:
            sys.stdout.write(noted["message"] + "\n")
        return EXIT_OK if assignment and not self._state.registering else EXIT_TRY_AGAIN

    def token(self, arguments: argparse.Namespace) -> int:
        """A shared access signature for the hub, signed by the TPM."""
        from .chip import Chip
        from .registration import hub_key
        from .sas import make_token

        assignment = self._state.assignment()
        if assignment is None:
            raise ClientError("this device is not assigned to a hub yet, see: tpmfleet-dps-client status")
        audience = arguments.audience or "{}/devices/{}".format(assignment["assigned_hub"], assignment["device_id"])
        key, chip = hub_key(assignment), Chip(self._configuration)
        expiry = int(self._clock.now()) + arguments.ttl
        sys.stdout.write(make_token(audience, expiry=expiry, sign=lambda data: chip.sign(key, data)) + "\n")
        return EXIT_OK

    def forget(self, _arguments: argparse.Namespace) -> int:
        """Removes the assignment."""
        with self._state.locked():
            self._state.forget()
        return EXIT_OK

    def selftest(self, _arguments: argparse.Namespace) -> int:
        """Everything but the network: configuration, certificates, state directory, TPM, both keys."""
        from .chip import Chip
        from .registration import hub_key, identify
        from .service import Service

        Service(self._configuration, self._clock).check()
        chip = Chip(self._configuration)
        assignment = self._state.assignment()
        with chip.opened():
            identity = identify(self._configuration, chip)
            usable = assignment is not None and identity.fits(assignment) and chip.signs(hub_key(assignment))
        shown = {"version": VERSION, "registration_id": identity.registration_id, "assigned": usable}
        sys.stdout.write(json.dumps(shown, sort_keys=True) + "\n")
        return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tpmfleet-dps-client", description=__doc__)
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("register", "register unless assigned"), ("reprovision", "register again")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--once", action="store_true", help="one attempt in place of going on until assigned")
    status = commands.add_parser("status", help="what goes on; exit code 0 if assigned")
    status.add_argument("--json", action="store_true")
    token = commands.add_parser("token", help="a token for the hub")
    token.add_argument("--audience", help="default HUB/devices/DEVICE")
    token.add_argument("--ttl", type=int, default=3600, help="seconds, default 3600")
    commands.add_parser("selftest", help="everything but the network; changes nothing")
    commands.add_parser("forget", help="remove the assignment from this device")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; the exit code."""
    parsed = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        client = Client(read_configuration(parsed.config))
        return getattr(client, parsed.command)(parsed)
    except ClientError as error:
        _say("{}: {}.".format(parsed.command, str(error).rstrip(".")))
        return EXIT_REFUSED if error.refused else EXIT_ERROR
    except ImportError as error:
        _say(f"{parsed.command}: the Python library tpm2-pytss is missing or unusable on this device: {error}.")
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_ERROR
