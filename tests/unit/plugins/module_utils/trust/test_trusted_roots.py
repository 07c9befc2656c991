# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom a root vouches for, by all the places where it lies; Microsoft's package of trusted roots as it is laid out."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.store import read_store
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Rules, Verifier
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

GENUINE = Path(__file__).with_name("genuine")


def tpm_of(vendor):
    return {
        "2.23.133.2.1": f"id:{vendor.encode().ljust(4, bytes(1)).hex()}",
        "2.23.133.2.2": "x",
        "2.23.133.2.3": "id:1",
    }


class Authority:
    """A root of its own, and certificates below it."""

    def __init__(self, maker, name):
        self._maker = maker
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = maker.authority(name, self._key, issuer=name, issuer_key=self._key)

    def put(self, *places):
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.root.public_bytes(Encoding.DER))

    def below(self, name):
        """An authority below it, which is the one that certifies from then on."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._maker.authority(name, key, issuer=self._name, issuer_key=self._key)
        self._name, self._key = name, key
        return made.public_bytes(Encoding.DER)

    def certify(self, key, vendor):
        made = self._maker.certify(key, tpm=tpm_of(vendor), issuer=self._name, issuer_key=self._key)
        return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


@pytest.fixture
def vouches(rsa_keys):
    """For which of some vendors a root vouches, when *roots* are trusted."""

    def run(authority, *roots, vendors=("AMD", "INTC", "MSFT", "NSG", "NTZ", "QCOM", "IFX", "STM")):
        verifier = Verifier(Rules(roots=tuple(map(str, roots))))
        found = set()
        for vendor in vendors:
            verdict = verifier.verify(authority.certify(rsa_keys[0], vendor))
            if verdict.trusted:
                found.add(vendor)
            else:
                assert [one.code for one in verdict.problems] == ["maker"], verdict.problems
        return found

    return run


ANYBODY = {"AMD", "INTC", "MSFT", "NSG", "NTZ", "QCOM", "IFX", "STM"}


def test_microsofts_package_is_understood_as_it_is(tpm_maker, tmp_path, vouches):
    store = tmp_path / "TrustedTpm"
    authorities = {
        "AMDTPM": ["AMD/RootCA/AMD-fTPM-RSA-RootCA.crt"],
        "Microsoft Pluton Root CA 2021": ["AMD/RootCA/Microsoft Pluton Root CA 2021.cer"],
        "Microsoft TPM Root Certificate Authority 2014": [
            "Microsoft/RootCA/Microsoft TPM Root Certificate Authority 2014.cer",
            "QC/RootCA/Microsoft TPM Root Certificate Authority 2014.crt",
        ],
        "NSING TPM RSA Root CA 001": ["NationZ/RootCA/NSING.crt"],
        "Nations TPM RSA ROOT CA 001": ["NationZ/RootCA/NSTPMRsaRootCA001.crt"],
        "STM TPM EK Root CA": ["STMicro/RootCA/STM TPM EK Root CA.crt"],
        "Infineon OPTIGA(TM) RSA Root CA": ["Infineon/RootCA/Infineon OPTIGA(TM) RSA Root CA.crt"],
        "www.intel.com": ["Intel/RootCA/EKRootPublicKey.cer"],
    }
    made = {}
    for name, places in authorities.items():
        made[name] = Authority(tpm_maker, name)
        made[name].put(*(store / place for place in places))
    found = {name: vouches(one, store) for name, one in made.items()}
    assert found == {
        "AMDTPM": {"AMD"},
        "Microsoft Pluton Root CA 2021": {"AMD", "MSFT"},
        "Microsoft TPM Root Certificate Authority 2014": {"MSFT", "QCOM"},
        "NSING TPM RSA Root CA 001": {"NTZ", "NSG"},
        "Nations TPM RSA ROOT CA 001": {"NTZ", "NSG"},
        "STM TPM EK Root CA": {"STM"},
        "Infineon OPTIGA(TM) RSA Root CA": {"IFX"},
        "www.intel.com": {"INTC"},
    }
    assert Verifier(Rules(roots=(str(store),))).notes == []


def test_a_pluton_below_amds_own_root_is_amds_and_microsofts(tpm_maker, tmp_path, vouches):
    """Its authorities lie below AMD's root and have Pluton in their names, and its certificates say MSFT."""
    found = {}
    for name in ("AMD Pluton Global Factory ICA", "PRG-PHX"):
        one = Authority(tpm_maker, "AMD Root CA R4")
        store = tmp_path / name
        one.put(store / "AMD/RootCA/AMD Root CA R4.crt")
        (store / "AMD/IntermediateCA").mkdir()
        (store / "AMD/IntermediateCA/ICA.crt").write_bytes(one.below(name))
        found[name] = vouches(one, store)
    assert found == {"AMD Pluton Global Factory ICA": {"AMD", "MSFT"}, "PRG-PHX": {"AMD"}}


def test_an_authority_among_the_roots_is_one_whoever_issued_it(tpm_maker, tmp_path, vouches, rsa_keys):
    """As AMD's for Pluton, whose own issuer nobody outside has; Microsoft's package has such ones below RootCA."""
    one = Authority(tpm_maker, "AMD Root CA R4")
    below = one.below("AMD Pluton Global Factory ICA")
    Authority(tpm_maker, "AMDTPM").put(tmp_path / "AMD/RootCA/AMDTPM.crt")
    (tmp_path / "AMD/IntermediateCA").mkdir()
    (tmp_path / "AMD/IntermediateCA/ICA.crt").write_bytes(below)
    refused = Verifier(Rules(roots=(str(tmp_path),))).verify(one.certify(rsa_keys[0], "MSFT"))
    assert [problem.code for problem in refused.problems] == ["issuer_missing"]
    (tmp_path / "AMD/RootCA/ICA.crt").write_bytes(below)
    assert vouches(one, tmp_path) == {"AMD", "MSFT"}
    (tmp_path / "IFX/RootCA").mkdir(parents=True)
    (tmp_path / "IFX/RootCA/a unit's.crt").write_bytes(base64.b64decode(one.certify(rsa_keys[0], "IFX")))
    assert vouches(one, tmp_path) == {"AMD", "MSFT"}


def test_a_root_is_bound_to_the_makers_of_all_its_places(tpm_maker, tmp_path, vouches):
    one = Authority(tpm_maker, "Somewhere")
    one.put(tmp_path / "a" / "AMD" / "x.der", tmp_path / "a" / "INTC" / "y.der", tmp_path / "b" / "STM" / "z.der")
    assert vouches(one, tmp_path / "a") == {"AMD", "INTC"}
    assert vouches(one, tmp_path / "a", tmp_path / "b") == {"AMD", "INTC", "STM"}


@pytest.mark.parametrize("order", [("IFX", "free"), ("free", "IFX")])
def test_a_place_without_a_maker_counts(tpm_maker, tmp_path, vouches, order):
    one = Authority(tpm_maker, "Somewhere")
    one.put(tmp_path / "IFX" / "x.der", tmp_path / "free" / "x.der")
    assert vouches(one, *(tmp_path / name for name in order)) == ANYBODY


def test_the_directory_itself_and_a_files_own_count(tpm_maker, tmp_path, vouches):
    one = Authority(tpm_maker, "Somewhere")
    file = tmp_path / "roots" / "Infineon" / "RootCA" / "x.der"
    one.put(file)
    for place in (file, file.parent, file.parent.parent, file.parents[2], f"{file.parents[1]}/"):
        assert vouches(one, place, vendors=("IFX", "STM")) == {"IFX"}, place
    direct = tmp_path / "Microsoft" / "x.der"
    one.put(direct)
    assert vouches(one, direct.parent) == vouches(one, direct) == {"MSFT"}


def test_a_directory_that_is_no_makers_is_told_and_the_one_for_all_is_not(tpm_maker, tmp_path):
    for name in ("Infinion", "any", "RootCA", "STM/RootCA"):
        Authority(tpm_maker, f"Root {name}").put(tmp_path / name / "x.der")
    (note,) = Verifier(Rules(roots=(str(tmp_path),))).notes
    assert "No TPM maker is known by the name of these directories" in note and f"{tmp_path}/Infinion (1)" in note
    assert "/any (" not in note and "RootCA (" not in note


def test_a_file_that_cannot_be_used_is_told_and_the_others_are(tpm_maker, tmp_path):
    Authority(tpm_maker, "Root").put(tmp_path / "roots" / "root.der")
    (tmp_path / "roots" / "page.crt").write_text("<html>404</html>")
    (note,) = Verifier(Rules(roots=(str(tmp_path / "roots"),))).notes
    assert "page.crt a certificate in it is a web page" in note
    with pytest.raises(TrustError, match="page.crt cannot be trusted by: a certificate in it is a web page"):
        Verifier(Rules(roots=(str(tmp_path / "roots" / "page.crt"),)))


def test_the_genuine_roots_in_their_makers_directories(tmp_path):
    for file in (GENUINE / "chain").iterdir():
        maker, _dash, name = file.name.partition("-")
        (tmp_path / maker).mkdir(exist_ok=True)
        (tmp_path / maker / name).write_bytes(file.read_bytes())
    store = read_store([str(tmp_path)])
    assert sorted(map(sorted, store.bound.values())) == [["IFX"], ["IFX"], ["INTC"], ["NSG", "NTZ"], ["NTC"], ["NTC"]]
    verifier = Verifier(Rules(roots=(str(tmp_path),)))
    for name in ("infineon-slb9670-rsa-ca035", "nuvoton-npct75x-rsa", "intel-ptt-spt-rsa"):
        assert verifier.verify(base64.b64encode((GENUINE / f"{name}.der").read_bytes()).decode()).trusted, name
