# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run by a device's Python: installs tpm2-pytss from an archive of wheels, without a network.

Arguments: the archive, and the directory of the virtual environment, which is made if it is missing; an empty one
installs beside the distribution's packages.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import tarfile
import tempfile

SETTINGS = {
    # Beside the distribution's packages, not over them; pip releases that know no such marker ignore this.
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def main() -> int:
    """The exit code of what failed, else 0."""
    archive, environment = sys.argv[1:]
    python = os.path.join(environment, "bin", "python") if environment else sys.executable
    with tempfile.TemporaryDirectory(prefix="tpmfleet-wheels-") as wheels:
        with tarfile.open(archive) as carried:
            carried.extractall(wheels)
        commands = []
        if not os.path.exists(python):
            commands.append([sys.executable, "-m", "venv", "--without-pip", environment])
        # A wheel is an archive that Python runs from, so pip need not be installed.
        pip = sorted(glob.glob(os.path.join(wheels, "pip-*.whl")))
        start = [os.path.join(pip[0], "pip")] if pip else ["-m", "pip"]
        commands.append([python, *start, "install", "--no-index", f"--find-links={wheels}", "tpm2-pytss"])
        for command in commands:
            code = subprocess.run(command, env={**os.environ, **SETTINGS}, check=False).returncode
            if code:
                return code
    # Neither venv nor pip does, and a power cut would leave files of no length.
    os.sync()
    return 0


if __name__ == "__main__":
    sys.exit(main())
