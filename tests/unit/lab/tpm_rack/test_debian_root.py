# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images are made once for each recipe, whole or not at all."""

from __future__ import annotations

import pytest
from tpm_rack import debian_root
from tpm_rack.debian_root import LIBRARIES, RootError, from_cache, made_root, run


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


@pytest.fixture
def asked(monkeypatch):
    """The commands for mmdebstrap, which makes an empty directory of each."""
    commands = []

    def make(program, *arguments):
        if program == "mmdebstrap":
            commands.append([str(part) for part in arguments])
            next(part for part in arguments if not isinstance(part, str)).mkdir()

    monkeypatch.setattr(debian_root, "run", make)
    return commands


def test_a_suite_of_another_architecture_is_made_as_such(tmp_path, asked):
    made_root(tmp_path, "bookworm")
    made_root(tmp_path, "bookworm/arm64", ["http://mirror.example/debian"])
    own, other = asked
    assert own[-2] == "bookworm" and not any("architectures" in part for part in own)
    assert other[-3] == "bookworm" and "--architectures=arm64" in other
    assert other[-1] == "http://mirror.example/debian"


def test_a_newer_root_leaves_that_of_another_architecture(tmp_path, asked):
    suites = ("bookworm", "bookworm/arm64", "bookworm/armhf")
    made = {suite: made_root(tmp_path, suite) for suite in suites}
    assert [made[suite].name.rpartition("-")[0] for suite in suites] == [
        "device-bookworm",
        "device-bookworm-arm64",
        "device-bookworm-armhf",
    ]
    newer = {suite: made_root(tmp_path, suite, ["http://mirror.example/debian"]) for suite in suites}
    assert not any(root.exists() for root in made.values()) and all(root.exists() for root in newer.values())


@pytest.mark.parametrize(
    ("suite", "has"),
    [
        ("bullseye", True),
        ("bullseye/arm64", True),
        ("bookworm", False),
        ("bookworm/arm64", False),
        ("bookworm/armhf", True),
    ],
)
def test_a_device_that_gets_wheels_has_the_libraries(tmp_path, asked, suite, has):
    made_root(tmp_path, suite)
    (included,) = [part for part in asked[0] if part.startswith("--include=")]
    assert (set(LIBRARIES) & set(included.partition("=")[2].split(",")) == set(LIBRARIES)) is has


def test_one_whose_programs_this_machine_does_not_run_is_told_before_a_device_stands_on_it(
    tmp_path, asked, monkeypatch
):
    made_root(tmp_path, "bookworm/arm64")
    monkeypatch.setattr(debian_root, "run", run)
    with pytest.raises(RootError, match=r"programs of arm64 do not run here: .*setup\.sh vm emulation") as told:
        made_root(tmp_path, "bookworm/arm64")
    assert "chroot" in str(told.value)
