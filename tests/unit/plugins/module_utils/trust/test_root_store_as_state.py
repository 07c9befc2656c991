# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of trusted roots as state: made of what is at hand, by fingerprints, the same on each run."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
import zipfile
from datetime import datetime, timezone

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust import root_state
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.archives import (
    check_cabinet,
    is_cabinet,
    read_sources,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.store import read_store
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.survey import survey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NOW = datetime.now(timezone.utc)


def authority(maker, name, key=None, **options):
    key = key or ec.generate_private_key(ec.SECP256R1())
    return maker.authority(name, key, **{"issuer": name, "issuer_key": key, **options})


@pytest.fixture(scope="module")
def package(tpm_maker):
    """A package as Microsoft lays it out: file names to contents."""
    pluton, shared, single = (authority(tpm_maker, name) for name in ("Pluton Root", "Shared Root", "Intel Root"))
    content = {
        "AMD/RootCA/pluton.cer": pluton,
        "Microsoft/RootCA/shared.crt": shared,
        "QC/RootCA/shared.crt": shared,
        "Intel/RootCA/root.cer": single,
        "Infineon/RootCA/root.crt": tpm_maker.root,
        "Infineon/IntermediateCA/issuer.crt": tpm_maker.issuer,
    }
    files = {name: one.public_bytes(Encoding.DER) for name, one in content.items()}
    return {**files, "readme.txt": b"whatever", "Intel/RootCA/page.crt": b"<html>"}


def write(files, place):
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return str(place)


def tarball(files, place):
    path = place / "roots.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def zipped(files, place):
    path = place / "roots.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def cabinet(files, place):
    """A cabinet without compression ([MS-CAB], 2)."""
    whole = b"".join(files.values())
    assert len(whole) < 32768
    entries = b""
    at = 0
    for name, data in files.items():
        written = name.replace("/", "\\").encode() + b"\0"
        entries += struct.pack("<IIHHHH", len(data), at, 0, 0x5A21, 0, 0x20) + written
        at += len(data)
    blocks_at = 36 + 8 + len(entries)
    block = struct.pack("<IHH", 0, len(whole), len(whole)) + whole
    folder = struct.pack("<IHH", blocks_at, 1, 0)
    size = blocks_at + len(block)
    head = b"MSCF" + struct.pack("<IIIIIBBHHHHH", 0, size, 0, 44, 0, 3, 1, 1, len(files), 0, 7, 0)
    path = place / "TrustedTpm.cab"
    path.write_bytes(head + folder + entries + block)
    return str(path)


FORMS = {"a directory": write, "a tarball": tarball, "a ZIP archive": zipped, "a cabinet": cabinet}


def pins(source):
    return sorted(source.roots)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_store_is_made_of_what_is_at_hand_and_stays(package, tmp_path, form):
    (tmp_path / "from").mkdir()
    src = form(package, tmp_path / "from")
    source = read_sources([src])
    assert [(why, place.startswith(src)) for place, why in source.unusable] == [
        ("a certificate in it is a web page, as servers send one in the place of a file that they do not have", True)
    ]
    path = str(tmp_path / "store")
    first = root_state.plan(source, pins(source), path, skip_others=False)
    assert first.changed and not (tmp_path / "store").exists()
    root_state.apply(first, path)
    again = root_state.plan(read_sources([src]), pins(source), path, skip_others=False)
    assert (again.changed, again.before, again.left_out) == (False, first.lines, [])
    made = read_store([path])
    assert made.bound == source.bound and set(made.intermediates) == set(source.intermediates)
    assert sorted(map(sorted, made.bound.values())) == [["AMD", "MSFT"], ["IFX"], ["INTC"], ["MSFT", "QCOM"]]
    assert (made.notes(), made.unusable) == ([], [])


def test_what_changed_is_known_and_undone(package, tmp_path):
    src, path = write(package, tmp_path / "from"), tmp_path / "store"
    source = read_sources([src])
    whole = root_state.plan(source, pins(source), str(path), skip_others=False)
    root_state.apply(whole, str(path))
    (path / "INTC" / "RootCA" / "smuggled.crt").write_bytes(next(iter(package.values())))
    gone = next(path.glob("IFX/IntermediateCA/*.crt"))
    gone.unlink()
    plan = root_state.plan(source, pins(source), str(path), skip_others=False)
    assert plan.remove == ["INTC/RootCA/smuggled.crt"] and plan.write == [str(gone.relative_to(path))]
    assert set(plan.lines) - set(plan.before) == {one for one in plan.lines if one.startswith("intermediate IFX")} | {
        one for one in plan.lines if "Pluton" in one
    }
    root_state.apply(plan, str(path))
    assert not root_state.plan(source, pins(source), str(path), skip_others=False).changed


def test_an_authority_without_a_root_is_pinned_where_it_lies_among_the_roots(tpm_maker, tmp_path):
    """AMD publishes one for Pluton, and not who issued it."""
    der = tpm_maker.issuer.public_bytes(Encoding.DER)
    apart = read_store([write({"AMD/IntermediateCA/ica.crt": der}, tmp_path / "apart")], needs_root=False)
    path = str(tmp_path / "store")
    with pytest.raises(TrustError, match="was issued by another authority.*have it lie in a directory MAKER/RootCA"):
        root_state.plan(apart, list(apart.intermediates), path, skip_others=True)
    among = read_store([write({"AMD/RootCA/ica.crt": der}, tmp_path / "among")])
    made = root_state.plan(among, pins(among), path, skip_others=False)
    root_state.apply(made, path)
    again = read_store([path])
    assert (list(again.roots), again.bound) == (list(among.roots), among.bound)
    assert not root_state.plan(among, pins(among), path, skip_others=False).changed


def test_only_what_is_pinned_comes_in(package, tmp_path):
    source = read_sources([write(package, tmp_path / "from")])
    (intel,) = [one for one in source.roots.values() if "Intel" in str(one.subject)]
    path = str(tmp_path / "store")
    with pytest.raises(TrustError, match="roots that are not pinned: .* Nothing was changed"):
        root_state.plan(source, [intel.sha256], path, skip_others=False)
    colons = ":".join(intel.sha256[at : at + 2] for at in range(0, 64, 2)).upper()
    plan = root_state.plan(source, [colons], path, skip_others=True)
    assert [line.split()[:2] for line in plan.lines] == [["root", "INTC"]]
    # An intermediate whose root is not trusted is left out too.
    assert len(plan.left_out) == 4
    with pytest.raises(TrustError, match="No root is pinned, and the sources have 4"):
        root_state.plan(source, [], path, skip_others=True)
    with pytest.raises(TrustError, match="no root with the fingerprint 0000"):
        root_state.plan(source, [intel.sha256, "0" * 64], path, skip_others=True)
    with pytest.raises(TrustError, match="'12:34' is no fingerprint"):
        root_state.plan(source, ["12:34"], path, skip_others=True)


def test_a_directory_of_somebody_else_is_left_alone(package, tmp_path):
    source = read_sources([write(package, tmp_path / "from")])
    with pytest.raises(TrustError, match="is not empty, and was not made by ek_roots"):
        root_state.plan(source, pins(source), str(tmp_path / "from"), skip_others=False)


def test_an_archive_writes_nowhere_else_and_is_bounded(package, tmp_path):
    (tmp_path / "from").mkdir()
    names = ("../../out.crt", "/abs.crt", "Intel/../../../x.crt")
    data = package["Intel/RootCA/root.cer"]
    source = read_sources([tarball(dict.fromkeys(names, data), tmp_path / "from")])
    assert len(source.roots) == 1 and [one.name for one in tmp_path.iterdir()] == ["from"]
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        member = tarfile.TarInfo("zeros.crt")
        member.size = 100 << 20
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(TrustError, match="cannot be expanded .it holds more than"):
        read_sources([str(bomb)])
    (tmp_path / "cut.cab").write_bytes(b"MSCF\0\0")
    with pytest.raises(TrustError, match="The cabinet .*cut.cab cannot be expanded"):
        read_sources([str(tmp_path / "cut.cab")])


def test_a_cabinets_signature_is_checked(tpm_maker, package, tmp_path):
    (tmp_path / "from").mkdir()
    plain = cabinet(package, tmp_path / "from")
    key = ec.generate_private_key(ec.SECP256R1())
    signer = tpm_maker.authority("Signer", key, ca=False, usage=("digital_signature",), purposes=("1.3.6.1.5.5.7.3.3",))
    (tmp_path / "signer.pem").write_bytes(signer.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "root.pem").write_bytes(tpm_maker.root.public_bytes(Encoding.PEM))
    (tmp_path / "other.pem").write_bytes(authority(tpm_maker, "Other").public_bytes(Encoding.PEM))
    signed = tmp_path / "signed.cab"
    command = ["osslsigncode", "sign", "-certs", str(tmp_path / "signer.pem"), "-key", str(tmp_path / "key.pem")]
    subprocess.run([*command, "-in", plain, "-out", str(signed)], check=True, capture_output=True)
    assert is_cabinet(str(signed)) and not is_cabinet(str(tmp_path / "root.pem"))
    assert "Signer" in check_cabinet(str(signed), str(tmp_path / "root.pem"))
    assert read_sources([str(signed)]).bound == read_sources([plain]).bound
    for path, roots in ((plain, "root.pem"), (signed, "other.pem")):
        with pytest.raises(TrustError, match="is not signed by anybody below"):
            check_cabinet(str(path), str(tmp_path / roots))
    changed = bytearray(signed.read_bytes())
    changed[-len(changed) // 2] ^= 1
    signed.write_bytes(changed)
    with pytest.raises(TrustError, match="is not signed by anybody below"):
        check_cabinet(str(signed), str(tmp_path / "root.pem"))


def test_a_look_at_a_store_tells_all_of_it(tpm_maker, package, tmp_path):
    old = authority(tpm_maker, "Old Root", days=(-20, -10))
    orphan = tpm_maker.authority("Orphan", ec.generate_private_key(ec.SECP256R1()), issuer="Nobody")
    more = {"whatever/old.crt": old, "STM/orphan.crt": orphan}
    files = {**package, **{name: one.public_bytes(Encoding.DER) for name, one in more.items()}}
    found = survey(read_sources([write(files, tmp_path / "roots")]), NOW)
    roots = {one["subject"]: one for one in found["roots"]}
    assert roots["CN=Shared Root"]["makers"] == ["MSFT", "QCOM"] and len(roots["CN=Shared Root"]["paths"]) == 2
    assert roots["CN=Shared Root"]["maker_names"] == ["Microsoft", "Qualcomm"]
    assert roots["CN=Shared Root"]["usable"] and not roots["CN=Shared Root"]["expired"]
    last = roots["CN=Old Root"]
    assert (last["makers"], last["expired"], last["usable"]) == (None, True, False)
    assert "is valid until" in last["why_not_usable"]
    fingerprint = old.fingerprint(hashes.SHA256()).hex()
    assert last["sha256"] == fingerprint
    ways = {one["subject"]: (one["root"], one["why_no_root"]) for one in found["intermediates"]}
    assert ways["CN=Test Maker Issuer"] == (roots["CN=Test Maker Root"]["sha256"], None)
    assert ways["CN=Orphan"][0] is None and "an issuer that is not there" in ways["CN=Orphan"][1]
    assert [one["path"].rpartition("/")[2] for one in found["unusable"]] == ["page.crt"]
    assert any("whatever (1)" in note for note in found["notes"])
