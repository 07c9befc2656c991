# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that a run prints, logs, writes or shows in process lists, on both sides, is searched for its secrets.

While a run lasts, the places where temporary files come and go are read over and over; afterwards everything is.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import secrets
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive

COLLECTION = Path(__file__).resolve().parents[2]
OURS, STRANGERS = "rack1-slot01", "rack1-slot02"


class Station:
    """Where the runs are started: a home directory, a log and a cache of facts of its own."""

    def __init__(self, line, directory, searching):
        self.line, self.watch = line, searching.Watch
        self.home = directory / "home"
        self.home.mkdir()
        self.secrets = {"environment": secrets.token_urlsafe(48), "vault": secrets.token_urlsafe(48)}
        self._vault_password = directory / "vault-password"
        self._vault_password.write_text(secrets.token_urlsafe(24))
        self.vault_file = self._encrypted(directory)

    def _encrypted(self, directory):
        """The variables file of a vault; its plain text is on no disk."""
        command = ["ansible-vault", "encrypt", "--output", str(directory / "vault.yml")]
        subprocess.run(
            [*command, "--vault-password-file", str(self._vault_password)],
            input=f"tpmfleet_master_key: {self.secrets['vault']}\n",
            text=True,
            check=True,
        )
        return directory / "vault.yml"

    def temporary(self):
        """Where files come and go during a run: all that a device wrote, what it has in memory, and this side's."""
        for device in self.devices():
            yield device.upper
            yield from (device.files / volatile for volatile in ("run", "tmp", "dev/shm"))
        yield self.home

    def devices(self):
        """Both devices of the rack."""
        return [self.line.rack.device(name) for name in (OURS, STRANGERS)]

    def authorizations(self):
        """Each one that could be derived for these devices."""
        for device, key in itertools.product(self.devices(), self.secrets.values()):
            public = bytes.fromhex(json.loads((device.tpm.state_dir / "maker.json").read_text())["endorsement_key"])
            name = "000b" + hashlib.sha256(public[2:]).hexdigest()
            for hierarchy, version in itertools.product(("owner", "lockout"), (1, 2)):
                yield derive(key, name, hierarchy, version)

    def run(self, playbook, *arguments, **environment):
        """A run with -vvv, and the places where one of its secrets was found."""
        with self.watch([*self.secrets.values(), *self.authorizations()], self.temporary) as watch:
            run = self.line.play(
                playbook,
                "-vvv",
                "--diff",
                *arguments,
                TPMFLEET_MASTER_KEY=self.secrets["environment"],
                HOME=str(self.home),
                ANSIBLE_LOG_PATH=str(self.home / "ansible.log"),
                ANSIBLE_CACHE_PLUGIN="ansible.builtin.jsonfile",
                ANSIBLE_CACHE_PLUGIN_CONNECTION=str(self.home / "facts"),
                **environment,
            )
        watch.look("output", run.printed.encode())
        for place in (self.line.directory, *self.temporary()):
            watch.search(place, everything=True)
        return run, watch.found

    def in_the_chip(self):
        """The one place where the authorizations are, and where the search has to find them: the TPM's own memory."""
        return {f"file: {self.line.rack.device(OURS).tpm.state_dir}/swtpm/tpm2-00.permall"}

    def from_environment(self):
        """The master key as inventories/factory has it."""
        factory = yaml.safe_load((COLLECTION / "inventories/factory/group_vars/all/fleet.yml").read_text())
        return ["-e", json.dumps({"tpmfleet_master_key": factory["tpmfleet_master_key"]})]

    def from_vault(self):
        """The master key as docs/ownership.md has it in a vault."""
        return ["-e", f"@{self.vault_file}", "--vault-password-file", str(self._vault_password)]


@pytest.fixture(scope="module")
def station(start_line, tmp_path_factory, searching):
    """A rack of two devices, of which a stranger owns one, and a station that has taken the shipment in."""
    line = start_line(2)
    line.rack.break_(STRANGERS, "tpm-owned-by-stranger")
    assert line.play("ek_intake").code == 0
    return Station(line, tmp_path_factory.mktemp("station"), searching)


# The search finds what is there


def test_a_secret_in_a_temporary_file_is_found_on_both_sides(station):
    """What Ansible does without pipelining, and what tpm_ownership must not let it do."""
    secret = station.secrets["environment"]
    with station.watch([secret], station.temporary) as watch:
        done = station.line.command(
            "ansible", OURS, *station.line.inventory, "-m", "ansible.builtin.ping", "-a", f"data={secret}",
            HOME=str(station.home), ANSIBLE_PIPELINING="0", ANSIBLE_SSH_ARGS="",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert any("AnsiballZ_ping.py" in where for where in watch.found), watch.found
    assert any(where.startswith(f"file: {station.home}/.ansible/tmp/") for where in watch.found), watch.found
    assert any(where.startswith("process list") for where in watch.found), watch.found


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_a_secret_is_found_however_it_is_written(before, searching):
    secret = b"the-secret-of-the-fleet"
    for written in (secret, secret.hex().encode(), base64.b64encode(before + secret + b"after")):
        watch = searching.Watch([secret.decode()], list)
        watch.look("there", b"before" + written + b"after")
        assert watch.found == {"there"}
        watch.found.clear()
        watch.look("there", written[: len(written) // 2])
        assert watch.found == set()


# The runs


@pytest.mark.parametrize("environment", [{}, {"ANSIBLE_PIPELINING": "0"}], ids=["first", "not-pipelining"])
def test_a_claim_with_the_master_key_from_the_environment(station, environment):
    run, found = station.run("software_install", *station.from_environment(), **environment)
    assert run.bad == {STRANGERS}, run.printed
    assert "is not the owner authorization" in run.reason(STRANGERS)
    assert station.line.seen()[OURS].owned
    assert found == station.in_the_chip()


def test_a_rotation_to_a_master_key_from_a_vault(station):
    """As docs/ownership.md has it: the previous authorizations are of the old key."""
    derivation = (
        "{{ lookup('ansible.builtin.env', 'TPMFLEET_MASTER_KEY') | tpmfleet.azure_dps.hierarchy_auth("
        "endorsement_key=ownership_endorsement_key, hierarchy='HIERARCHY', version=1) }}"
    )
    previous = {f"ownership_previous_{one}_auth": derivation.replace("HIERARCHY", one) for one in ("owner", "lockout")}
    run, found = station.run(
        "rotate_ownership",
        *station.from_vault(),
        "-e",
        json.dumps({"tpmfleet_key_version": 2, **previous}),
    )
    assert run.bad == {STRANGERS}, run.printed
    assert run.hosts[OURS]["changed"], run.printed
    assert found == station.in_the_chip()
    run, found = station.run("software_install", *station.from_vault(), "-e", "tpmfleet_key_version=2")
    assert (run.bad, run.hosts[OURS]["changed"]) == ({STRANGERS}, 0), run.printed
    assert found == station.in_the_chip()


def test_what_a_client_is_told_lies_in_its_own_files_and_in_no_other(station):
    """Of both flavours: the owner authorization, and the proxy's. Ansible's own files hold neither, on either side."""
    device = station.line.rack.device(OURS)
    station.secrets["proxy"] = secrets.token_urlsafe(24)
    settings = {
        "tpmfleet_key_version": 2,
        "dps_client_proxy": "http://proxy.factory.example:3128",
        "dps_client_proxy_auth": "unit:{{ lookup('ansible.builtin.env', 'TPMFLEET_PROXY_SECRET') }}",
        "dps_client_persistent_handle": "0x81000100",
    }
    device.execute(["mkdir", "-p", "/etc/aziot"])
    for flavour, files in (
        ("aziot", ["etc/aziot/config.toml"]),
        ("builtin", ["etc/tpmfleet-dps-client/owner-auth", "etc/tpmfleet-dps-client/proxy-auth"]),
    ):
        run, found = station.run(
            "software_install",
            *station.from_vault(),
            "-e",
            json.dumps({**settings, "tpmfleet_dps_client_flavour": flavour}),
            TPMFLEET_PROXY_SECRET=station.secrets["proxy"],
            ANSIBLE_PIPELINING="0",
        )
        assert run.bad == {STRANGERS} and run.hosts[OURS]["changed"], run.printed
        # A file that is being written has its process's number until it is whole.
        whole = {re.sub(r"\.new\.\d+$", "", where) for where in found}
        own = {f"file: {device.upper}/{path}" for path in files}
        assert whole == station.in_the_chip() | own
        assert not list((device.upper / "etc").rglob("*.new.*"))
        for path in files:
            assert (device.upper / path).stat().st_mode & 0o7777 == 0o600
            # The next run is not searched for this one's.
            (device.upper / path).unlink()


def test_a_run_that_leaves_its_files_is_refused(station):
    run, found = station.run(
        "software_install", *station.from_vault(), "-e", "tpmfleet_key_version=2", ANSIBLE_KEEP_REMOTE_FILES="1"
    )
    assert run.bad == {OURS, STRANGERS}
    # The station is to be mended, there is nothing wrong with the units: said once, for both.
    (said,) = re.findall(r"^MEND[^:]*: (.*)\n +(.*)$", run.printed, re.MULTILINE)
    assert said[0].endswith(f"for {OURS}, {STRANGERS}"), said
    assert "ANSIBLE_KEEP_REMOTE_FILES leaves modules on its disk" in said[1]
    assert "PULL" not in run.printed, run.printed
    assert found <= station.in_the_chip()


def test_a_poor_master_key_is_not_shown_by_the_error_about_it(station, tmp_path):
    """Ansible shows the lines that an error comes from."""
    poor = "a-master-key-that-is-too-short"
    (tmp_path / "vars.yml").write_text(f"tpmfleet_master_key: {poor}\n")
    run = station.line.play("software_install", "-vvv", "-e", f"@{tmp_path}/vars.yml")
    assert run.bad == {OURS, STRANGERS}
    assert "30 characters, 32 is the least" in run.printed
    assert poor not in run.printed
