# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates as they lie in NV memory: padded, chained, garbled."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import der

SHORT = b"\x30\x03\x02\x01\x05"
LONG = b"\x30\x81\x80" + bytes(128)


@pytest.mark.parametrize("padding", [b"", bytes(100), b"\xff" * 100])
@pytest.mark.parametrize("element", [SHORT, LONG])
def test_padding_is_trimmed(element, padding):
    assert der.trimmed(element + padding) == element


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x05\x02", b"\x30\x80\x00\x00", b"\x30\x85" + bytes(9)])
def test_what_is_cut_short_or_of_no_length_is_no_der(data):
    with pytest.raises(der.DerError):
        der.trimmed(data)


def test_a_chain_is_split_and_its_padding_dropped():
    assert der.split(SHORT + LONG + bytes(10)) == ([SHORT, LONG], b"")
    assert der.split(bytes(10)) == ([], b"")


def test_what_was_cut_short_is_given_back():
    assert der.split(SHORT + LONG[:-1]) == ([SHORT], LONG[:-1])
    assert der.split(LONG[:1]) == ([], LONG[:1])


@pytest.mark.parametrize("garbled", [b"", bytes(500), SHORT, LONG, b"\x30\x82\x01\x00" + b"\xa5" * 256])
def test_no_key_is_found_in_what_is_no_certificate(garbled):
    assert der.certified_rsa_key(garbled) is None


@pytest.mark.parametrize("header", [b"\x10\x01\x00\x01\x06\x10\x02", b"\x10\x01\x00\x01\x04", b"\x10\x02"])
def test_the_header_of_a_tpm_1_2_is_seen_through(header):
    assert der.trimmed(header + LONG + b"\xff" * 40) == LONG
    assert der.without_header(b"\x10\x01\x01" + LONG) == b"\x10\x01\x01" + LONG
