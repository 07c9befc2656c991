# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Software TPMs as these tests need them, and the check that none of the code under test leaves anything in one."""

from __future__ import annotations

import shutil
import subprocess

import pytest

LEFTOVERS = ("handles-transient", "handles-loaded-session", "handles-saved-session")


class Tools:
    """tpm2-tools on one TPM: what people look into a TPM with, and independent of the code under test."""

    def __init__(self, tcti):
        self._tcti = tcti

    def _run(self, *command):
        return subprocess.run(
            [command[0], "-T", self._tcti, *map(str, command[1:])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def __call__(self, *command, fails=False):
        done = self._run(*command)
        assert bool(done.returncode) == fails, done.stdout
        return done.stdout

    def capability(self, name):
        """What tpm2_getcap says, as it is."""
        return self("tpm2_getcap", name)

    def state(self):
        """Everything that ownership could change."""
        return [self.capability(name) for name in ("properties-variable", "handles-persistent", "handles-nv-index")]

    def leftovers(self):
        """Keys and sessions that somebody forgot."""
        return "".join(self.capability(name) for name in LEFTOVERS)

    def opens(self, hierarchy, auth):
        """Changes *auth* of *hierarchy* to itself, which has to work."""
        assert self.tries(hierarchy, auth)

    def tries(self, hierarchy, auth):
        """Whether *auth* of *hierarchy* can be changed to itself. Of the lockout hierarchy it is better not wrong."""
        return self._run("tpm2_changeauth", "-c", hierarchy, "-p", auth, auth).returncode == 0

    def put(self, handle, directory, *options):
        """Persists a primary key made with *options* of tpm2_createprimary at *handle*."""
        context = directory / "primary.ctx"
        self("tpm2_createprimary", *options, "-c", context)
        self("tpm2_evictcontrol", "-C", "o", "-c", context, f"0x{handle:08x}")
        self("tpm2_flushcontext", "-t")

    def lock_out(self, directory):
        """Guesses wrong until the TPM has had enough."""
        context = directory / "protected.ctx"
        self("tpm2_createprimary", "-C", "n", "-c", context, "-p", "right")
        for _guess in range(40):
            if "inLockout:                 1" in self.capability("properties-variable"):
                break
            self("tpm2_flushcontext", "-t")
            wrong = ("tpm2_create", "-C", context, "-P", "wrong", "-u", directory / "u", "-r", directory / "r")
            self(*wrong, fails=True)
        self("tpm2_flushcontext", "-t")


@pytest.fixture
def chip(software_tpm):
    """A running TPM with certificates, in which nothing may be left at the end of a test."""
    yield software_tpm
    software_tpm.start()
    software_tpm.resume()
    assert Tools(software_tpm.tcti).leftovers() == ""


@pytest.fixture
def tools(chip):
    """tpm2-tools on the TPM *chip*."""
    return Tools(chip.tcti)


@pytest.fixture
def answers():
    """Has a TPM answer by a script of the lab from a power cycle on, and as it is again after the test."""
    broken = []

    def answer(tpm, **script):
        tpm.stop()
        tpm.answer_by(script)
        tpm.start()
        broken.append(tpm)

    yield answer
    for tpm in broken:
        tpm.stop()
        tpm.answer_by(None)
        tpm.start()


@pytest.fixture
def own():
    """Does a wish on a TPM; what the module would return."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership import bring_about

    def do(tpm, wish, *, check_mode=False, tcti=None):
        with connect(tcti or tpm.tcti, 30) as esys:
            return bring_about(esys, wish, check_mode=check_mode)

    return do


@pytest.fixture
def tool_for():
    """tpm2-tools on any TPM."""
    return lambda tpm: Tools(tpm.tcti)


@pytest.fixture(scope="session")
def uncertified_state(tmp_path_factory):
    """The state of a TPM whose maker put no certificate in it."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path_factory.mktemp("uncertified") / "tpm"
    SoftwareTpm(state).manufacture(certificate=False)
    return state


@pytest.fixture
def uncertified(uncertified_state, tmp_path):
    """A running TPM without certificates."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path / "uncertified"
    shutil.copytree(uncertified_state, state)
    tpm = SoftwareTpm(state)
    tpm.start()
    yield tpm
    assert Tools(tpm.tcti).leftovers() == ""
    tpm.stop()
