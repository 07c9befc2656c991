# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A software TPM by itself: as it is made, and where it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest


def _capability(tpm, name: str) -> str:
    command = ["tpm2_getcap", "-T", tpm.tcti, name]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture
def make(tmp_path):
    """Makes and starts TPMs, which end with the test."""
    from tpm_rack.software_tpm import SoftwareTpm

    made = []

    def one(name: str, **how):
        tpm = SoftwareTpm(tmp_path / name)
        made.append(tpm)
        tpm.manufacture(**how)
        tpm.start()
        return tpm

    yield one
    for tpm in made:
        tpm.stop()


def test_a_tpm_without_certificate_has_nothing_in_it(make):
    tpm = make("bare", certificate=False)
    assert _capability(tpm, "handles-persistent") == _capability(tpm, "handles-nv-index") == ""


def test_a_tpm_that_is_shipped_with_persistent_keys(make, lab_ca):
    tpm = make("kept", authority=lab_ca, persistent_ek=True)
    assert _capability(tpm, "handles-persistent").split("\n")[:2] == ["- 0x81010001", "- 0x81010016"]


def test_tpms_made_side_by_side_have_certificates_of_one_authority(lab_ca, tmp_path):
    from cryptography import x509
    from tpm_rack.software_tpm import SoftwareTpm

    tpms = [SoftwareTpm(tmp_path / f"tpm{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tpm: tpm.manufacture(authority=lab_ca), tpms))
    known = [json.loads((tpm.state_dir / "maker.json").read_text()) for tpm in tpms]
    certificates = [x509.load_der_x509_certificate(bytes.fromhex(one["endorsement_key_certificate"])) for one in known]
    issuer = x509.load_pem_x509_certificate(lab_ca.ca_certificates[1].read_bytes())
    for certificate in certificates:
        certificate.verify_directly_issued_by(issuer)
    assert len({certificate.serial_number for certificate in certificates}) == 4
    assert len({tpm.port for tpm in tpms}) == 4


def test_nothing_of_the_system_s_own_authority_is_touched(lab_ca):
    configuration = lab_ca.setup_configuration.read_text() + (lab_ca.directory / "localca.conf").read_text()
    assert "/etc/" not in configuration and "/var/lib/swtpm-localca" not in configuration


def test_the_port_stays_and_a_copy_gets_its_own(software_tpm, tmp_path):
    from tpm_rack.software_tpm import SoftwareTpm

    port = software_tpm.port
    software_tpm.power_cycle()
    assert SoftwareTpm(software_tpm.state_dir).port == port
    shutil.copytree(software_tpm.state_dir, tmp_path / "copy")
    copy = SoftwareTpm(tmp_path / "copy")
    assert not copy.running
    copy.start()
    assert copy.port != port and software_tpm.running
    copy.stop()
    assert software_tpm.running


def test_ports_asked_for_at_once_are_all_different(tmp_path):
    from tpm_rack.software_tpm import reserve_port_pair

    owners = [tmp_path / str(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        ports = list(pool.map(reserve_port_pair, owners))
    assert len(set(ports)) == 200
