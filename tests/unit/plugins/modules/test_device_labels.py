# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labels are read back as a scanner reads them: from the picture, and from the page of the PDF."""

from __future__ import annotations

import io

import pypdfium2
import pytest
import zxingcpp
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.labels.drawing import pdf, pictures
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.labels.label import SIZES, Label, unit_label
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from PIL import Image

REGISTRATION_ID = "o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpco{}"
SERIAL = "TF-00000{}"


@pytest.fixture
def ledger(tmp_path):
    """A ledger of three units, of which the last has only been unpacked."""
    path = str(tmp_path / "ledger.sqlite")
    with opened(path, Access.WRITE) as connection:
        devices = Devices(connection)
        for number in "ab":
            record = {"serial_number": SERIAL.format(number), "registration_id": REGISTRATION_ID.format(number)}
            devices.save(None, record)
        devices.save(None, {"serial_number": SERIAL.format("c")})
        devices.write()
    return path


@pytest.fixture
def labels(run_module, ledger, tmp_path):
    def run(units="ab", **options):
        devices = [{"serial_number": SERIAL.format(number)} for number in units]
        options = {"dest": str(tmp_path / "labels.pdf"), **options}
        return run_module("device_labels", ledger=ledger, devices=devices, **options)

    return run


def codes(pages):
    return [[found.text for found in zxingcpp.read_barcodes(page, zxingcpp.BarcodeFormat.QRCode)] for page in pages]


def pages_of(document):
    return [page.render(scale=300 / 72).to_pil() for page in pypdfium2.PdfDocument(document)]


def test_a_pdf_has_a_page_a_unit_and_the_pallet_s_first(labels, tmp_path):
    result = labels(pallet="P-0017")
    assert (result["changed"], result["labels"], result["files"]) == (True, 3, [str(tmp_path / "labels.pdf")])
    document = (tmp_path / "labels.pdf").read_bytes()
    assert codes(pages_of(document)) == [["P-0017"], [REGISTRATION_ID.format("a")], [REGISTRATION_ID.format("b")]]
    first, second, _third = [page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(document)]
    assert "P-0017" in first and "2 units" in first and SERIAL.format("a") in first and SERIAL.format("b") in first
    assert SERIAL.format("a") in second
    assert labels(pallet="P-0017")["changed"] is False


def test_pictures_are_called_as_what_they_show(labels, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/other").touch()
    options = {"format": "png", "dest": str(tmp_path / "pictures"), "pallet": "P-0017"}
    assert labels(check=True, **options)["changed"] is True
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["other"]
    result = labels(**options)
    for path, code in zip(result["files"], ["P-0017", REGISTRATION_ID.format("a"), REGISTRATION_ID.format("b")]):
        picture = Image.open(path)
        assert codes([picture]) == [[code]]
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=1)
    assert [path.rpartition("/")[2] for path in result["files"]] == [
        "pallet.png", REGISTRATION_ID.format("a") + ".png", REGISTRATION_ID.format("b") + ".png"
    ]  # fmt: skip
    assert labels(**options)["changed"] is False


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("identity", ["a", "a" * 52, "a-._:" * 25 + "abc"], ids=["short", "usual", "longest"])
def test_each_size_is_read_and_nothing_leaves_the_page(size, identity):
    """In mm, to a tenth, and with ink nowhere within a millimetre of the edge."""
    label = unit_label({"serial_number": "W" * 60, "registration_id": identity})
    document = pdf([label], size)
    (page,) = pypdfium2.PdfDocument(document)
    assert [side * 25.4 / 72 for side in page.get_size()] == pytest.approx(SIZES[size], abs=0.1)
    (picture,) = pages_of(document)
    assert codes([picture]) == [[identity]]
    dark = picture.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    millimetre = 300 / 25.4
    assert min(dark[0], dark[1], picture.width - dark[2], picture.height - dark[3]) > millimetre
    text = page.get_textpage().get_text_range()
    assert "W" * 60 + identity == "".join(text.split())


def test_what_a_device_is_called_does_nothing_to_its_label():
    label = unit_label({"serial_number": "A\x1b[31m\u202eB中", "registration_id": "unit-1"})
    (page,) = pypdfium2.PdfDocument(pdf([label], "62x100"))
    assert "A\\x1b[31m\\u202eB\\u4e2d" in page.get_textpage().get_text_range().replace("\r\n", "")


def test_equal_labels_are_equal_bytes():
    label = Label(coded="unit-1", heading="TF-1", lines=("unit-1",))
    assert pdf([label, label], "62x29") == pdf([label, label], "62x29")
    assert Image.open(io.BytesIO(next(pictures(pdf([label], "62x29"))))).size == (733, 343)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        ("abd", r"1 of 3 units have no label, and none was made: the ledger does not know TF-00000d"),
        ("cab", r"TF-00000c has no registration ID yet: its label can be made after step 2"),
    ],
)
def test_a_unit_without_a_label_is_named_and_nothing_is_made(labels, tmp_path, units, words):
    result = labels(units)
    assert result["failed"] and words in result["msg"]
    assert [one["serial_number"] for one in result["missing"]] == [SERIAL.format(units.strip("ab"))]
    assert not (tmp_path / "labels.pdf").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pallet": "P\n17"}, "a pallet cannot be called 'P\\n17'"),
        ({"dest": "/nowhere/labels.pdf"}, "The directory /nowhere for the labels is not there"),
        ({"dest": "/nowhere", "format": "png"}, "The directory /nowhere for the labels is not there"),
    ],
)
def test_what_cannot_be_done_is_told_in_check_mode_too(labels, options, words):
    for check in (True, False):
        result = labels(check=check, **options)
        assert result["failed"] and words in result["msg"]
