# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are placed together are there together or not at all."""

from __future__ import annotations

import os

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client import placement
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.placement import PlacementError, WantedFile


def wanted(path, content, **more):
    return WantedFile("part", str(path), content, owner=(os.getuid(), os.getgid()), **more)


def test_what_is_as_wanted_is_not_planned(tmp_path):
    files = [wanted(tmp_path / "a", b"one"), wanted(tmp_path / "gone", None)]
    placement.apply(placement.plan(files))
    assert (tmp_path / "a").read_bytes() == b"one"
    assert placement.plan(files) == []


def test_another_mode_alone_is_a_change(tmp_path):
    placement.apply(placement.plan([wanted(tmp_path / "a", b"one")]))
    assert placement.plan([wanted(tmp_path / "a", b"one", mode=0o600)])


def test_everything_is_put_back(tmp_path):
    (tmp_path / "a").write_bytes(b"before")
    (tmp_path / "a").chmod(0o640)
    placements = placement.plan([wanted(tmp_path / "a", b"after", keep_previous=True), wanted(tmp_path / "b", b"new")])
    placement.apply(placements)
    assert (tmp_path / "a.previous").read_bytes() == b"before"
    placement.put_back(placements)
    assert not (tmp_path / "a.previous").exists()
    assert (tmp_path / "a").read_bytes() == b"before"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert not (tmp_path / "b").exists()


def test_where_one_cannot_be_placed_none_is(tmp_path):
    placements = placement.plan([wanted(tmp_path / "a", b"one"), wanted(tmp_path / "missing" / "b", b"two")])
    with pytest.raises(PlacementError, match="missing"):
        placement.apply(placements)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_left_alone(tmp_path):
    (tmp_path / "a").symlink_to("elsewhere")
    with pytest.raises(PlacementError, match="no regular file"):
        placement.plan([wanted(tmp_path / "a", b"one")])


def test_a_secret_is_never_shown(tmp_path):
    (tmp_path / "a").write_bytes(b"old secret")
    (planned,) = placement.plan([wanted(tmp_path / "a", b"new secret", secret=True)])
    assert "secret\n" not in str(planned.shown()).replace("(a secret)\\n", "")
    assert "old" not in str(planned.shown())
