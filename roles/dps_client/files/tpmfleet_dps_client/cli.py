# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the client. Exit codes: 0 done; 1 an error; 75 not assigned, worth another try; 77 refused."""

from __future__ import annotations

import argparse
import json
import math
import os
import pwd
import random
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import VERSION
from .assignment import text
from .backoff import delay
from .clock import Clock
from .configuration import DEFAULT_PATH, Configuration, read_configuration
from .errors import EXIT_ERROR, EXIT_OK, EXIT_REFUSED, EXIT_TRY_AGAIN, ClientError
from .outside.visible import visible
from .state import State

if TYPE_CHECKING:
    from .registration import Registration

# Seconds after an assignment within which a hub's refusal is no reason for another one: it would not help, and a device
# that restarts again and again would ask again and again.
REFUSED_BY_HUB_PATIENCE = 3600


def _say(sentence: str) -> None:
    """To the journal, which adds the time."""
    sys.stderr.write(visible(sentence) + "\n")
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
    if not assignment:
        return {}
    shown = {name: text(assignment.get(name)) for name in names.split()}
    return {**shown, "assigned_at": assignment["assigned_at"]}


def _unexpected(error: Exception) -> ClientError:
    """A fault of this client's own, which must not end what goes on for years."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(at.filename).name}:{at.lineno}"
    return ClientError(f"this client failed at {place} ({type(error).__name__}: {visible(error, most=200)})")


def _left(deadline: float | None) -> float:
    """Seconds until *deadline*, infinite without one."""
    return math.inf if deadline is None else deadline - time.monotonic()


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
        """Until assigned; with ``--once`` one attempt, with ``--within`` as many as fit into the time."""
        return self._until_assigned(anew=False, within=0.0 if arguments.once else arguments.within)

    def reprovision(self, arguments: argparse.Namespace) -> int:
        """As ``register``, and an assignment that is held does not count."""
        return self._until_assigned(anew=True, within=0.0 if arguments.once else arguments.within)

    def _until_assigned(self, *, anew: bool, within: float | None) -> int:
        """Attempts until one succeeds; in *within* seconds if somebody waits for it, and a refusal is the end then."""
        deadline = None if within is None else time.monotonic() + within
        failures = 0
        while True:
            try:
                with self._state.locked(_left(deadline if within else None)):
                    patience = _left(deadline if within else None)
                    self._attempt(anew=anew, attended=deadline is not None, first=not failures, patience=patience)
                return EXIT_OK
            except ImportError:
                raise
            except Exception as error:
                why = error if isinstance(error, ClientError) else _unexpected(error)
            failures += 1
            wait = delay(self._configuration, failures, why)
            words = "Not assigned: {}.".format(str(why).rstrip("."))
            last = deadline is not None and (why.refused or time.monotonic() + wait > deadline)
            self._note("refused" if why.refused else "waiting", words, failures=failures, wait=None if last else wait)
            if last:
                _say(words)
                return EXIT_REFUSED if why.refused else EXIT_TRY_AGAIN
            _say(f"{words} Next attempt in {wait:.0f} s.")
            time.sleep(wait)

    def _attempt(self, *, anew: bool, attended: bool, first: bool, patience: float) -> None:
        """One attempt, under the lock. The *first* of a boot that nobody *attended* comes after a random wait."""
        from .registration import Registration

        registration = Registration(self._configuration, state=self._state, clock=self._clock)
        if self._state.set_damaged_aside():
            _say("The assignment that was kept is damaged. It was set aside; this device registers anew.")
        held = None if anew else registration.held()
        if held is not None and self._holds(registration, held, ask=self._configuration.ask_hub and not attended):
            return
        if first and not attended and not anew and self._configuration.first_attempt_spread:
            wait = random.uniform(0, self._configuration.first_attempt_spread)
            self._note("waiting", "Not assigned yet; the first attempt is on its way.", wait=wait)
            _say(f"Not assigned yet. First attempt in {wait:.1f} s.")
            time.sleep(wait)
        self._note("registering", f"Asking {self._configuration.global_endpoint} for an assignment.")
        assignment = registration.register(patience=patience)
        words = "Assigned to {} as {}.".format(assignment["assigned_hub"], assignment["device_id"])
        self._conclude(registration, assignment, words)

    def _conclude(self, registration: Registration, assignment: dict[str, Any], words: str) -> None:
        """The end of an attempt that leaves the device assigned. A key that cannot be persisted is told, no more."""
        try:
            registration.persist(assignment)
        except ClientError as error:
            words += " The hub key was not persisted: {}.".format(str(error).rstrip("."))
        self._note("assigned", words)
        _say(words)

    def _holds(self, registration: Registration, held: dict[str, Any], *, ask: bool) -> bool:
        """Whether the assignment that is *held* is to stay; says so. With *ask* the hub has a say in it."""
        words = "Already assigned to {} as {}".format(held["assigned_hub"], held["device_id"])
        end = "; nothing to do."
        if ask:
            # First, as a network that is not there takes its time to say so.
            noted = self._state.status()
            if noted.get("state") != "assigned" or not noted.get("message", "").startswith(words):
                self._note("assigned", words + end)
            try:
                refusal = registration.ask_hub(held)
            except ClientError as error:
                end += f" The hub was not asked: {error}."
            else:
                # One that is to come is of a clock that was ahead.
                if refusal and not -60 <= self._clock.now() - held["assigned_at"] <= REFUSED_BY_HUB_PATIENCE:
                    _say(f"The hub refuses this device: {refusal}. Registering anew.")
                    return False
                end = f". The hub refuses it, just after a registration: {refusal}." if refusal else end
        self._conclude(registration, held, words + end)
        return True

    def _note(self, state: str, words: str, *, failures: int = 0, wait: float | None = None) -> None:
        """Writes the status unless it says the same; one that cannot be written is said and stops nothing."""
        now = self._clock.now()
        status = {"state": state, "message": visible(words), "failures": failures, "updated_at": int(now)}
        status["next_attempt_at"] = None if wait is None else int(now + wait)
        # Devices look for years, and mostly find what they found before.
        if {**self._state.status(), "updated_at": None} == {**status, "updated_at": None}:
            return
        try:
            self._state.write_status(status)
        except ClientError as error:
            _say(f"The status was not written: {error}.")

    def status(self, arguments: argparse.Namespace) -> int:
        """What was noted last, and the assignment."""
        assignment = self._state.assignment()
        noted = {"state": "never run", "message": "The client has not run yet.", **self._state.status()}
        if arguments.json:
            shown = {**noted, "version": VERSION, "assignment": _shown(assignment) or None}
            sys.stdout.write(json.dumps(shown, indent=1, sort_keys=True) + "\n")
        else:
            sys.stdout.write(noted["message"] + "\n")
        return EXIT_OK if assignment and not self._state.registering else EXIT_TRY_AGAIN

    def token(self, arguments: argparse.Namespace) -> int:
        """A shared access signature for the hub, signed by the TPM."""
        from .registration import Registration
        from .sas import hub_audience

        assignment = self._state.assignment()
        if assignment is None:
            raise ClientError("this device is not assigned to a hub yet, see: tpmfleet-dps-client status")
        audience = arguments.audience or hub_audience(assignment)
        registration = Registration(self._configuration, state=self._state, clock=self._clock)
        token, _expiry = registration.token(assignment, audience, seconds=arguments.ttl)
        if self._clock.evidently_wrong:
            _say("The clock of this device is wrong; the hub may find the token expired.")
        sys.stdout.write(token + "\n")
        return EXIT_OK

    def forget(self, _arguments: argparse.Namespace) -> int:
        """Removes the assignment, and the hub key from where the TPM holds it."""
        from .chip import Chip

        handle = self._configuration.hub_key_handle
        with self._state.locked():
            if handle is not None:
                # First, since with the assignment gone nobody would come back for it.
                Chip(self._configuration).evict(handle)
            self._state.forget()
        return EXIT_OK

    def selftest(self, _arguments: argparse.Namespace) -> int:
        """Everything but the network: configuration, certificates, state directory, TPM, its answer to a challenge."""
        from .chip import Chip
        from .registration import connection, hub_key, identify

        connection(self._configuration, self._clock).check()
        self._state.check()
        handle = self._configuration.hub_key_handle
        chip = Chip(self._configuration)
        assignment = self._state.assignment()
        with chip.opened():
            chip.check()
            identity = identify(self._configuration, chip)
            usable = assignment is not None and identity.fits(assignment) and chip.signs(hub_key(assignment))
            if handle is not None:
                chip.check_persistence(handle)
        shown = {"version": VERSION, "registration_id": identity.registration_id, "assigned": usable}
        sys.stdout.write(json.dumps(shown, sort_keys=True) + "\n")
        return EXIT_OK


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tpmfleet-dps-client", description=__doc__)
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("register", "register unless assigned"), ("reprovision", "register again")):
        command = commands.add_parser(name, help=words)
        how_long = command.add_mutually_exclusive_group()
        how_long.add_argument("--once", action="store_true", help="one attempt in place of going on until assigned")
        how_long.add_argument(
            "--within", type=_seconds, metavar="SECONDS", help="as long as that, and not on after a refusal"
        )
    status = commands.add_parser("status", help="what goes on; exit code 0 if assigned")
    status.add_argument("--json", action="store_true")
    token = commands.add_parser("token", help="a token for the hub")
    token.add_argument("--audience", help="default HUB/devices/DEVICE")
    token.add_argument("--ttl", type=_seconds, default=3600, help="seconds, default 3600")
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
    except Exception as error:
        _say(f"{parsed.command}: {_unexpected(error)}.")
        return EXIT_ERROR
