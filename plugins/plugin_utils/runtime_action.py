# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an action does to give a device the libraries of the TPM modules: looks, installs, and looks again."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.strict_json import JsonError, parse
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import PULL_IT, DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.packages import FAMILIES, PATIENCE, install
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.returned import TPM_RUNTIME_LOOK
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rights import is_without_root, of_play
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.shape import ShapeError
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here

FILES = Path(__file__).resolve().parents[2] / "roles" / "tpm_runtime" / "files"
# Asked through sh, so that a virtual environment that is not there yet is an answer and no failure.
ASK = 'if [ -x "$1" ]; then exec "$1" -c "$3" "$4"; else exec "$2" -c "$3" "$4" "$1"; fi'


class RuntimeAction(DeviceAction):
    """What it asks is asked of Ansible's own modules, through the wall."""

    RUNTIME_ARGUMENTS = {
        "tcti": {"type": "str", "default": "device:/dev/tpmrm0"},
        "source": {"type": "str", "choices": ["packages", "wheels"], "default": "packages"},
        "wheels_dir": {"type": "str", "default": ""},
        "wheels_venv": {"type": "str", "default": ""},
        "python": {"type": "str", "default": "/usr/bin/python3"},
    }

    def provide(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Verified, done or, in check mode, planned, by *options* as RUNTIME_ARGUMENTS has them."""
        before = self._look(options, task_vars)
        if before.get("failed"):
            return before
        found = {"changed": False, "family": before["family"]}
        if not before["missing"]:
            return {**found, "state": "verified", "how": before["found"]}
        lacking = f"because there is no {', no '.join(before['missing'])}"
        refused = self._without_root(options, task_vars) or self._refused(options, before)
        if refused:
            return {**self.failure(refused.pop("msg")), **found, **refused}
        if options["source"] == "packages":
            # In check mode too: it tells packages that nobody has.
            done = install(self, before["family"], packages(before["family"], options["tcti"]), task_vars)
        else:
            done = {} if self.is_check else self._install_wheels(options, task_vars)
        if done.get("failed"):
            return done
        found["changed"] = True
        if self.is_check:
            untold = done.get("untold")
            beforehand = f"; beforehand its package manager can only say: {untold}" if untold else ""
            how = f"would install from {options['source']}, {lacking}{beforehand}"
            return {**found, "state": "planned", "how": how}
        after = self._look(options, task_vars)
        if after.get("failed"):
            return after
        if after["missing"]:
            return {**self.failure(_still(options, after)), **found}
        return {**found, "state": "done", "how": f"{after['found']}, installed from {options['source']}"}

    def _look(self, options, task_vars):
        """What the device's Python says that it has, or a failed result."""
        environment = options["wheels_venv"] if options["source"] == "wheels" else ""
        python = os.path.join(environment, "bin", "python") if environment else options["python"]
        probe = (FILES / "probe.py").read_text()
        said = self.run_command(
            ["/bin/sh", "-c", ASK, "probe", python, options["python"], probe, options["tcti"]], task_vars, looks=True
        )
        if said.get("failed"):
            return said
        try:
            return TPM_RUNTIME_LOOK(parse(said["stdout"]))
        except (JsonError, ShapeError) as error:
            words = f"what it said of its libraries is no answer to that: {error}. {PULL_IT}"
            return self.failure(words)

    def _without_root(self, options: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`_refused`, for an installation that takes root where nothing gives it."""
        own = options["source"] == "wheels" and options["wheels_venv"]
        if own or not is_without_root(task_vars, *of_play(self._task)):
            return {}
        words = "The TPM libraries are missing, and installing them takes root: set become. Nothing was changed."
        return {"msg": words, **failure(SETUP, variable="ansible_become")}

    def _refused(self, options: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        """Why nothing is tried, as part of a result; empty where it is."""
        if options["source"] == "packages":
            if before["family"] in FAMILIES:
                return {}
            words = (
                f"no packages are known for the family '{before['family']}'. Put tpm2-pytss and the TPM libraries on "
                f"its image, or set tpm_runtime_source to 'wheels'. There is no {', no '.join(before['missing'])}."
            )
            return {"msg": words}
        directory = options["wheels_dir"]
        if directory and any(_wheels(directory, "tpm2_pytss-*.whl")):
            return {}
        words = (
            f"There is no wheel of tpm2-pytss in tpm_runtime_wheels_dir, which is '{directory}' on the controller. "
            "Make them on a machine like the device: pip wheel 'tpm2-pytss<3' pip --wheel-dir DIRECTORY"
        )
        return {"msg": words, **failure(SETUP)}

    def _install_wheels(self, options, task_vars):
        with tempfile.NamedTemporaryFile(prefix="tpmfleet-wheels-", suffix=".tar") as archive:
            with tarfile.open(fileobj=archive, mode="w") as packed:
                for wheel in _wheels(options["wheels_dir"], "*.whl"):
                    packed.add(wheel, arcname=wheel.name)
            archive.flush()
            carried = self.carry(archive.name, "wheels.tar", task_vars, seconds=PATIENCE)
        script = (FILES / "install_wheels.py").read_text()
        return self.run_command(
            [options["python"], "-c", script, carried, options["wheels_venv"]], task_vars, seconds=PATIENCE
        )


def packages(family: str, tcti: str) -> list[str]:
    """The names of the packages of a *family* that hold the Python library and the one of *tcti*."""
    if family == "redhat":
        return ["python3-tpm2-pytss", "tpm2-tss"]
    kinds = dict.fromkeys(("device", tcti.partition(":")[0]))
    return [*(f"libtss2-tcti-{kind}0" for kind in kinds), "python3-tpm2-pytss"]


def _wheels(directory: str, pattern: str) -> list[Path]:
    return sorted(Path(from_here(directory, "wheels_dir")).expanduser().glob(pattern))


def _still(options: dict[str, Any], after: dict[str, Any]) -> str:
    words = (
        f"the TPM modules cannot run, although the installation from {options['source']} went through. Still there is "
        f"no {', no '.join(after['missing'])}."
    )
    if options["source"] == "wheels":
        words += " Wheels bring no TPM libraries: put the system's own tpm2-tss (libtss2) on the device's image."
    return words
