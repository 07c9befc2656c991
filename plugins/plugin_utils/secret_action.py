# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks whose arguments hold a secret: the module travels over standard input, lies on no disk, or does not travel."""

from __future__ import annotations

import contextlib

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase


class SecretAction(ActionBase):
    """Does the task's :meth:`work`, by default the module of its name, off the disks where it has a secret."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    SECRET_OPTIONS: tuple[str, ...] = ()

    def run(self, tmp=None, task_vars=None):
        """Runs the task."""
        result = super().run(tmp, task_vars)
        secret = self.secret()
        if secret is not None:
            self._keep_off_disks(secret)
        result.update(self.work(task_vars))
        return result

    def secret(self) -> str | None:
        """What the task has that nobody else may read, for a message; None where it has nothing."""
        return next((name for name in self.SECRET_OPTIONS if self._task.args.get(name) is not None), None)

    def work(self, task_vars) -> dict:
        """The result of the task."""
        return self._execute_module(task_vars=task_vars)

    def _keep_off_disks(self, secret: str) -> None:
        """Has Ansible pipeline, as else the module and *secret* lie in files on both machines; fails if it cannot."""
        if self._connection.has_pipelining and not self._is_pipelining_enabled("new"):
            # A connection plugin without the option has another way of its own, or none.
            with contextlib.suppress(AnsibleError, KeyError):
                self._connection.set_option("pipelining", True)
        if self._is_pipelining_enabled("new"):
            return
        if C.DEFAULT_KEEP_REMOTE_FILES:
            reason, cure = "ANSIBLE_KEEP_REMOTE_FILES leaves modules on its disk", "Run without it."
        elif not self._connection.has_pipelining:
            reason = f"the connection plugin {self._connection.transport} cannot pipeline"
            cure = "Use ansible.builtin.ssh."
        else:
            reason = f"the become method {self._play_context.become_method} cannot pipeline"
            cure = "Use ansible.builtin.sudo, or log in as the user that may use the TPM."
        raise AnsibleActionFail(f"{secret} would be written to a file on the device, since {reason}. {cure}")
