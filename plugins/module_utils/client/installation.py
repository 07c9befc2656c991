# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans and applies the installation of the field client on the device where this runs."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import stat
from typing import Any, Callable

from ..outside import durable
from . import files as client_files
from . import placement
from .files import (
    COMMAND,
    CONFIGURATION_DIRECTORY,
    PROGRAM,
    SERVICE,
    STATE_DIRECTORY,
    TIMER,
    TPM_GROUP,
    UNIT_DIRECTORY,
    USER,
)

# What useradd(8) and its kin replace, and the directory of it.
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc")
# run(argv) → exit code, stdout, stderr
Run = Callable[..., Any]


class InstallationError(Exception):
    """The client was not installed; the message says why, and what stands on the device now."""


class Installation:
    """The client on this device, for the *options* of the module ``dps_client``."""

    def __init__(self, options: dict[str, Any], *, run: Run) -> None:
        self._options = options
        self._run = run
        self._present = options["state"] == "present"
        self._files: list[placement.Placement] = []
        self._links: dict[str, str | None] = {}
        self._changes: list[str] = []

    def plan(self) -> dict[str, Any]:
        """What :meth:`apply` will do: ``changed``, ``changes``, ``changed_settings``, ``diff`` and programs' hashes."""
        user = _user()
        try:
            self._files = placement.plan(client_files.wanted_files(self._options, _ids(user)))
        except placement.PlacementError as error:
            raise InstallationError(str(error)) from error
        changed = {each.wanted.part for each in self._files}
        for link, (part, target) in client_files.wanted_links(self._options).items():
            if _link_target(link) != target:
                self._links[link] = target
                changed.add(part)
        if self._present and (user is None or not _in_tpm_group(user)):
            changed.add("user")
        if not self._present and self._options["purge"] and user is not None:
            changed.add("user")
        if self._state_directory_differs(user):
            changed.add("state_directory")
        changed |= self._to_start(changed)
        self._changes = sorted(changed)
        result: dict[str, Any] = {"changed": bool(changed), "changes": self._changes}
        result["changed_settings"] = client_files.changed_settings(self._files)
        result["diff"] = [each.shown() for each in self._files]
        if self._present:
            result["program_sha256"] = self._wanted_program_hash()
            result["previous_program_sha256"] = _hash_of(PROGRAM)
        return result

    def apply(self) -> dict[str, Any]:
        """Does what :meth:`plan` found: ``selftest`` where it ran. :class:`InstallationError` after putting back."""
        if not self._changes:
            return {}
        return self._place() if self._present else self._remove()

    def _place(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        try:
            with contextlib.ExitStack() as undo:
                self._make_room(undo)
                # The plan may have been made before the user was.
                files = placement.plan(client_files.wanted_files(self._options, _ids(_user())))
                undo.callback(_set_links, {link: _link_target(link) for link in self._links})
                placement.apply(files)
                undo.callback(placement.put_back, files)
                _set_links(self._links)
                if self._options["selftest"] and ({"program", "configuration", "user"} & set(self._changes)):
                    said["selftest"] = self._selftest()
                undo.pop_all()
        except (InstallationError, placement.PlacementError, OSError) as error:
            raise InstallationError(f"{error}; everything was put back as it was") from error
        self._reload()
        if "started" in self._changes:
            self._systemctl("start", "--no-block", SERVICE, TIMER)
        elif "restarted" in self._changes:
            self._systemctl("try-restart", "--no-block", SERVICE)
        return said

    def _make_room(self, undo: contextlib.ExitStack) -> None:
        """User and directories; *undo* gets what takes them away again."""
        user = self._ensure_user(undo)
        root = (0, 0)
        wanted = ((os.path.dirname(PROGRAM), 0o755, root), (CONFIGURATION_DIRECTORY, 0o755, root))
        for path, mode, owner in (*wanted, (STATE_DIRECTORY, 0o700, _ids(user))):
            if not os.path.isdir(path):
                undo.callback(durable.remove_empty_directory, path)
            durable.make_directory(path, mode, owner)

    def _to_start(self, changed: set[str]) -> set[str]:
        """What is to happen to the service after what is *changed*: one that runs knows only what it started with."""
        renewed = bool(changed & {"program", "configuration", "units"})
        if not self._present or not (renewed or self._options["started"]):
            return set()
        if self._active():
            return {"restarted"} if renewed else set()
        return {"started"} if self._options["started"] else set()

    def _remove(self) -> dict[str, Any]:
        units = [unit for unit in (TIMER, SERVICE) if os.path.exists(f"{UNIT_DIRECTORY}/{unit}")]
        if units:
            self._systemctl("stop", *units, may_fail=True)
        try:
            _set_links(self._links)
            placement.apply(self._files)
        except (placement.PlacementError, OSError) as error:
            raise InstallationError(str(error)) from error
        durable.remove_tree(os.path.dirname(PROGRAM))
        durable.remove_empty_directory(CONFIGURATION_DIRECTORY)
        if self._options["purge"]:
            _shred_directory(STATE_DIRECTORY)
            if _user() is not None:
                self._account(["userdel", USER])
        self._reload()
        return {}

    def _selftest(self) -> dict[str, Any]:
        # The program goes on as the owner of the state directory, so that what is tested is what the service may do.
        code, out, err = self._run([COMMAND, "selftest"])
        if code:
            words = (err or out).strip().removeprefix("selftest: ").rstrip(".")
            raise InstallationError(f"the client's selftest failed: {words}")
        try:
            return json.loads(out)
        except ValueError as error:
            raise InstallationError(f"the client's selftest said what no selftest says: {out[:200]}") from error

    def _state_directory_differs(self, user: pwd.struct_passwd | None) -> bool:
        try:
            status = os.stat(STATE_DIRECTORY)
        except FileNotFoundError:
            return self._present
        if not self._present:
            return bool(self._options["purge"])
        return (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) != (0o700, _ids(user))

    def _wanted_program_hash(self) -> str:
        for each in self._files:
            if each.wanted.part == "program":
                return hashlib.sha256(each.wanted.content or b"").hexdigest()
        return _hash_of(PROGRAM)

    def _ensure_user(self, undo: contextlib.ExitStack) -> pwd.struct_passwd:
        user = _user()
        groups = ["--groups", TPM_GROUP] if _tpm_group() is not None else []
        if user is None:
            own_group = ["--gid", USER] if _group(USER) is not None else ["--user-group"]
            shell = "/usr/sbin/nologin" if os.path.exists("/usr/sbin/nologin") else "/bin/false"
            self._account(
                ["useradd", "--system", *own_group, "--no-create-home", "--home-dir", STATE_DIRECTORY, "--shell", shell]
                + [*groups, USER]
            )
            undo.callback(self._account, ["userdel", USER], may_fail=True)
        elif not _in_tpm_group(user):
            self._account(["usermod", "--append", *groups, USER])
            undo.callback(self._account, ["gpasswd", "--delete", USER, TPM_GROUP], may_fail=True)
        found = _user()
        if found is None:
            raise InstallationError(f"the user {USER} was made and is not there")
        return found

    def _account(self, argv: list[str], *, may_fail: bool = False) -> None:
        """Runs a program that changes users or groups, and has what it wrote on the disk."""
        code, out, err = self._run(argv)
        if code and not may_fail:
            raise InstallationError(f"{argv[0]} failed: {(err or out).strip()}")
        for path in filter(os.path.exists, ACCOUNTS):
            durable.sync(path)

    def _active(self) -> bool:
        return _systemd_runs() and self._run(["systemctl", "is-active", "--quiet", SERVICE])[0] == 0

    def _systemctl(self, *arguments: str, may_fail: bool = False) -> None:
        code, out, err = self._run(["systemctl", *arguments])
        if code and not may_fail:
            raise InstallationError("systemctl {} failed: {}".format(" ".join(arguments), (err or out).strip()))

    def _reload(self) -> None:
        if {"units", "enabled"} & set(self._changes) and _systemd_runs():
            self._systemctl("daemon-reload")


def _systemd_runs() -> bool:
    """Not in an image that is being built; there it reads the units when it first starts (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _tpm_group() -> grp.struct_group | None:
    return _group(TPM_GROUP)


def _in_tpm_group(user: pwd.struct_passwd) -> bool:
    group = _tpm_group()
    return group is None or user.pw_gid == group.gr_gid or user.pw_name in group.gr_mem


def _ids(user: pwd.struct_passwd | None) -> tuple[int, int]:
    """User and group ID; of nobody at all where there is no such user yet."""
    return (user.pw_uid, user.pw_gid) if user is not None else (-1, -1)


def _link_target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InstallationError(f"{link} is there and is no link; it was left alone") from error


def _set_links(links: dict[str, str | None]) -> None:
    for link, target in links.items():
        if target is None:
            durable.remove(link)
        else:
            durable.replace_link(link, target)


def _shred_directory(path: str) -> None:
    """Removes the directory, and overwrites its files first."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    placement.remove(entry.path, shred=True)
        durable.remove_tree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InstallationError(f"{error.filename} could not be removed: {error.strerror}") from error


def _hash_of(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""
