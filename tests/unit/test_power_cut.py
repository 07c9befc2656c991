# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tool that cuts the power: it loses what was not synced, and nothing else."""

from __future__ import annotations

import sys

import pytest

SYNC = """
import os
def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
"""
# How a file is replaced so that a power cut leaves the old or the new one; and how people think it is.
REPLACE = {
    "right": """
with open("file.new", "w") as stream:
    stream.write("new")
    stream.flush()
    os.fsync(stream.fileno())
os.rename("file.new", "file")
sync(".")
print("done")
""",
    "the directory is not synced": """
with open("file.new", "w") as stream:
    stream.write("new")
    stream.flush()
    os.fsync(stream.fileno())
os.rename("file.new", "file")
print("done")
""",
    "the file is not synced": """
with open("file.new", "w") as stream:
    stream.write("new")
os.rename("file.new", "file")
sync(".")
print("done")
""",
    "in its place": """
with open("file", "w") as stream:
    stream.write("new")
    stream.flush()
    os.fsync(stream.fileno())
print("done")
""",
}


@pytest.fixture
def recorded(power_cut, tmp_path):
    """A function: what is recorded of a program that runs in a directory with a file "file" that says "old"."""
    root = tmp_path / "root"

    def run(program):
        root.mkdir()
        (root / "file").write_text("old")
        recording = power_cut.record([sys.executable, "-c", SYNC + program], roots=[root], cwd=root)
        assert recording.done.returncode == 0, recording.done.stderr
        return recording, root

    return run


def contents(recording, root, *, said):
    """What "file" may hold at the next boot, once the program said "done", or before that; None where it is gone."""
    path = f"{root}/file"
    return {
        cut.tree[path][1].decode() if path in cut.tree else None for cut in recording.cuts() if bool(cut.said) == said
    }


@pytest.mark.parametrize(
    ("how", "before", "after"),
    [
        ("right", {"old", "new"}, {"new"}),
        ("the directory is not synced", {"old", "new"}, {"old", "new"}),
        ("the file is not synced", {"old", "new", ""}, {"new", ""}),
        ("in its place", {"old", "new", ""}, {"new"}),
    ],
)
def test_how_a_file_is_replaced(recorded, how, before, after):
    recording, root = recorded(REPLACE[how])
    assert contents(recording, root, said=False) == before
    assert contents(recording, root, said=True) == after
    assert (recording.unsynced(when_said="done") == []) == (len(after) == 1)
    assert (recording.unsynced() == []) == (len(after) == 1)


def test_everything_that_programs_do_to_names_and_files(recorded, tmp_path):
    """The model has what the disk has, and a laid out cut has it too."""
    recording, root = recorded("""
import shutil
os.umask(0o077)
os.makedirs("a/b/c", 0o750)
os.symlink("b", "a/link")
os.link("file", "a/hard")
with open("a/b/file", "wb", buffering=0) as stream:
    stream.write(b"0123456789")
    stream.seek(4)
    stream.write(b"four")
    stream.truncate(9)
with open("file", "ab", buffering=0) as stream:
    stream.write(b" and more")
directory = os.open("a", os.O_RDONLY)
os.mkdir("by-descriptor", dir_fd=directory)
os.rename("b/file", "moved", src_dir_fd=directory, dst_dir_fd=directory)
os.chmod("a/moved", 0o640)
os.utime("a/moved", (1, 1234.5))
os.replace("a/by-descriptor", "a/replaced")
shutil.rmtree("a/b")
os.unlink("a/hard")
""")
    (tmp_path / "laid").mkdir()
    recording.end.lay_out(root, tmp_path / "laid")
    assert sorted(path.name for path in (tmp_path / "laid").rglob("*")) == ["a", "file", "link", "moved", "replaced"]
    assert (tmp_path / "laid/a/moved").read_bytes() == b"0123four8"
    assert (tmp_path / "laid/a/moved").stat().st_mtime == 1234.5
    assert (tmp_path / "laid/a/moved").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "laid/file").read_text() == "old and more"
    assert f"content or attributes of {root}/file" in recording.unsynced()
    assert f"rename {root}/a/b/file to {root}/a/moved" in recording.unsynced()
    assert recording.unsynced(but=["moved"]) != recording.unsynced()
    # None of it was synced, so all of it may be gone, or all but one name.
    left = [set(cut.tree) for cut in recording.cuts()]
    everything = {str(root), *map(str, root.rglob("*"))}
    assert {str(root), f"{root}/file"} in left
    assert all(everything - {name} in left for name in (f"{root}/a/link", f"{root}/a/moved"))


def test_a_program_that_does_what_the_model_does_not_know_is_told(recorded):
    with pytest.raises(Exception, match="truncate is not known"):
        recorded('os.truncate("file", 1)')


def test_a_word_that_was_never_said_is_told(recorded):
    recording, _root = recorded("print('something')")
    with pytest.raises(Exception, match="never said 'done'"):
        recording.unsynced(when_said="done")
