# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images are made once for each recipe, whole or not at all."""

from __future__ import annotations

import pytest
from tpm_rack.debian_root import RootError, from_cache, run


def make_of(content, made):
    """What makes an image that holds *content*, and notes in *made* that it was made."""

    def make(work):
        made.append(content)
        (work / "image").mkdir()
        (work / "image" / "content").write_text(content)
        return work / "image"

    return make


def test_an_image_is_made_once_a_recipe_and_takes_the_place_of_an_older_one(tmp_path):
    made = []
    one = from_cache(tmp_path, "machine", "recipe", make_of("one", made))
    assert from_cache(tmp_path, "machine", "recipe", make_of("two", made)) == one
    assert (one / "content").read_text() == "one" and made == ["one"]
    other = from_cache(tmp_path, "device", "recipe", make_of("other", made))
    newer = from_cache(tmp_path, "machine", "changed", make_of("newer", made))
    assert not one.exists() and (newer / "content").read_text() == "newer" and other.exists()


def test_one_that_could_not_be_made_leaves_nothing_that_passes_for_it(tmp_path):
    def fails(_work):
        run("/bin/sh", "-c", "echo no mirror answers; exit 3")

    with pytest.raises(RootError, match="no mirror answers"):
        from_cache(tmp_path, "machine", "recipe", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["machine.lock"]
