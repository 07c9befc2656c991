# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks on each supported version of ansible-core: ``nox --list``, ``nox -s "sanity(2.21)"``.

A thin front over ansible-test, as it stands in the README; the sessions of antsibull-nox.toml are antsibull-nox's own.
"""

from __future__ import annotations

import antsibull_nox
import nox

nox.options.default_venv_backend = "venv"
antsibull_nox.load_antsibull_nox_toml()

# ansible-core to the Python that it is checked on, the oldest that all of it runs on.
CORES = {"2.17": "3.11", "2.18": "3.11", "2.19": "3.11", "2.20": "3.12", "2.21": "3.12"}
on_each_core = nox.parametrize("python,core", [(python, core) for core, python in CORES.items()], ids=list(CORES))


def ansible_test(session: nox.Session, core: str, command: str, *arguments: str) -> None:
    """Runs ``ansible-test`` of that version over a placed copy of the collection."""
    session.install(f"ansible-core~={core}.0")
    # ansible-test asks git which files are the project's.
    place = session.create_tmp() + "/ansible_collections/tpmfleet/azure_dps"
    session.run("scripts/place.sh", session.create_tmp(), external=True)
    session.chdir(place)
    session.run("git", "init", "--quiet", external=True)
    session.run("git", "add", "--all", external=True)
    session.run("ansible-test", command, "--venv", "--python", str(session.python), *arguments, *session.posargs)


@nox.session(default=False)
@on_each_core
def sanity(session: nox.Session, core: str) -> None:
    """ansible-test sanity, with no ignore file."""
    ansible_test(session, core, "sanity")


@nox.session(default=False)
@on_each_core
def units(session: nox.Session, core: str) -> None:
    """ansible-test units: what tests/unit/requirements.txt names is installed by it."""
    ansible_test(session, core, "units", "tests/unit/plugins/")


@nox.session(default=False)
@on_each_core
def integration(session: nox.Session, core: str) -> None:
    """ansible-test integration, over a lab that each target starts."""
    ansible_test(session, core, "integration")
