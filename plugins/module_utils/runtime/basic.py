# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this collection's modules use of ``ansible.module_utils.basic`` on a device, in its place there.

Ansible's own takes each device longer to load than most of what the modules do. The options come validated: Ansible's
own validator did that on the controller (see :mod:`plugin_utils.payload`).
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
# Name and password in a URL, as Ansible hides them in the log of the system.
_URL_SECRET = re.compile(r"(://[^/\s:@]*:)[^@\s]*(?=@)")


class Given:
    """What the controller gave the one module that this process runs."""

    params: dict[str, Any] = {}
    name = ""
    check_mode = False
    diff = False
    no_log = False
    log_facility = ""
    log_info = ""

    # For a module that fails before it has said what of its options is a secret, and for one that does so after.
    secrets: set[str] = set()


def missing_required_lib(library: str, reason: str | None = None, url: str | None = None) -> str:
    """The sentence for a Python library that is not there."""
    words = f"Failed to import the required Python library ({library}) on {platform.node()}'s Python {sys.executable}."
    words += f" This is required {reason}." if reason else ""
    words += f" See {url} for more info." if url else ""
    return (
        f"{words} Please read the module documentation and install it in the appropriate location. If the required "
        "library is installed, but Ansible is using the wrong Python interpreter, please consult the documentation on "
        "ansible_python_interpreter"
    )


class AnsibleModule:
    """A module's options, and its ways to end.

    *conditions* between options, and whether there is a check mode, were looked at on the controller.
    """

    def __init__(self, argument_spec: dict[str, dict[str, Any]], **_conditions: Any) -> None:
        self.params = dict(Given.params)
        self.check_mode = Given.check_mode
        self._diff = Given.diff
        self._warnings: list[str] = []
        self.no_log_values = Given.secrets
        for name, option in argument_spec.items():
            if option.get("no_log"):
                self.no_log_values.update(_texts(self.params[name]))
            if option.get("type") == "path" and self.params[name] is not None:
                self.params[name] = _expanded(self.params[name])
        if not Given.no_log:
            _log(self._invocation(argument_spec))

    def warn(self, warning: str) -> None:
        """Has the result say it."""
        self._warnings.append(warning)

    def exit_json(self, **result: Any) -> NoReturn:
        """Ends with a *result*."""
        self._print(result)
        raise SystemExit(0)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """Ends with what went wrong."""
        self._print({**result, "failed": True, "msg": msg})
        raise SystemExit(1)

    def run_command(self, args: list[str]) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of a command; not waited for is what it left running."""
        # Takes 10 ms to load, and most modules run nothing.
        import subprocess

        out, err = os.memfd_create("out"), os.memfd_create("err")
        try:
            # This is what a module calls in its place.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [_expanded(one) for one in args], stdout=out, stderr=err
            )
            code = process.wait()
        except OSError as error:
            self.fail_json(msg=f"Error executing command: {error}", rc=error.errno, stdout="", stderr="")
        return code, _content(out), _content(err)

    def _print(self, result: dict[str, Any]) -> None:
        if self._warnings:
            result = {**result, "warnings": self._warnings}
        say(result)

    def _invocation(self, argument_spec: Mapping[str, Mapping[str, Any]]) -> str:
        shown = []
        for name, value in self.params.items():
            if argument_spec[name].get("no_log"):
                value = "NOT_LOGGING_PARAMETER"
            shown.append(f"{name}={value}")
        return _URL_SECRET.sub(r"\1********", _without(f"Invoked with {' '.join(shown)}", _longest_first()))


def say(result: dict[str, Any]) -> None:
    """Prints what the controller reads, without what it gave as a secret."""
    sys.stdout.write(f"\n{json.dumps(_without(result, _longest_first()))}\n")


def crashed(error: BaseException) -> int:
    """Tells of an *error* that no module should have; the exit code."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    say({"failed": True, "msg": f"The module crashed: {lines[-1].strip()}", "exception": "".join(lines)})
    return 1


def _log(words: str) -> None:
    """Leaves a trace in the log of the system, as each module of Ansible's does."""
    try:
        import syslog
    except ImportError:
        return
    syslog.openlog(f"ansible-{Given.name}", 0, getattr(syslog, Given.log_facility, syslog.LOG_USER))
    # One line, which has no NUL, whatever a device or its user made of the options.
    line = f"{Given.log_info} {words}".strip().replace("\0", "")
    syslog.syslog(syslog.LOG_INFO, line.encode("utf-8", "replace").decode("utf-8"))


def _expanded(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))


def _content(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "surrogateescape")


def _texts(value: Any) -> Iterator[str]:
    """Each text and number in an option's *value*."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _longest_first() -> list[str]:
    """The secrets: a shorter one may be a part of a longer one, of which it would leave the rest."""
    return sorted(Given.secrets, key=len, reverse=True)


def _without(value: Any, secrets: list[str]) -> Any:
    """*value* without the *secrets*."""
    if isinstance(value, str):
        if value in secrets:
            return _HIDDEN
        for secret in secrets:
            value = value.replace(secret, "********")
        return value
    if isinstance(value, dict):
        return {name: _without(one, secrets) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(one, secrets) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _HIDDEN if any(secret in str(value) for secret in secrets) else value
    return value
