# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A power cut that loses what was not synced, at every point of what a program did to the disk.

A program that is killed loses nothing: what it wrote is the kernel's. A cut power takes what was not yet on the disk.
Here a program runs once under strace(1); what it did below the given directories is played again on a model of a file
system, and after each step the model tells what may be found there at the next boot. What may be lost is what POSIX
does not promise: the content and attributes of a file since its fsync, and each name that was made, changed or removed
since the fsync of its directory. Names are lost from the last one on, as a journal does it, or any one of them alone;
content is lost or not, independently of them.

    recording = power_cut.record([python, "-c", program], roots=[directory])
    assert recording.unsynced() == []                        # nothing is left to chance when it ends
    assert recording.unsynced(when_said="Done") == []        # nor when it says so
    for cut in recording.cuts():                             # each different state that a boot may find
        cut.lay_out(directory, elsewhere)

The model is held to the truth: what it has at the end is what lies on the disk, else :func:`record` fails.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NAMES = "rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir"
_OPENS = "open openat creat"
_WRITES = "write writev pwrite64 ftruncate lseek dup dup2 dup3 fcntl"
_ATTRIBUTES = "umask chmod fchmod fchmodat chown lchown fchown fchownat utimensat"
_SYNCS = "fsync fdatasync sync syncfs"
# What the model does not know fails where it touches one of the directories.
_UNKNOWN = "openat2 truncate fallocate copy_file_range sendfile mknod mknodat pwritev pwritev2 splice sync_file_range"
_TRACED = ",".join(f"{_OPENS} {_NAMES} {_WRITES} {_ATTRIBUTES} {_SYNCS} {_UNKNOWN}".split())

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?:<([^>]*)>)?(.*)$", re.DOTALL)
_BEGUN = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
_ARGUMENT = re.compile(r'"(?:\\x[0-9a-f]{2})*"(?:\.\.\.)?|\[[^\]]*\]|[^,\[]+')
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(AT_FDCWD|-?\d+)(?:<([^>]*)>)?(\(deleted\))?")
_MOMENT = re.compile(r"tv_sec=(\d+), tv_nsec=(\d+)|UTIME_(NOW|OMIT)")


class UnknownCallError(Exception):
    """The program did what the model does not know, or something else than the model made of it."""


@dataclass(eq=False)
class _Node:
    """A file, directory or link; of each the state in the kernel and, under ``kept``, the one that is on the disk."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: bytes = b""
    modified: float | None = None
    names: dict[str, _Node] = field(default_factory=dict)
    kept: tuple[Any, ...] = ()
    kept_names: dict[str, _Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keep()

    def now(self) -> tuple[Any, ...]:
        return self.content, self.mode, self.owner, self.modified

    def keep(self) -> None:
        self.kept = self.now()


@dataclass(eq=False)
class _Edit:
    """Names that change in one step: of each the directory, the name, and what it is a name of then."""

    words: str
    names: list[tuple[_Node, str, _Node | None]]


@dataclass(frozen=True)
class Cut:
    """What a boot may find after the power was cut. *after* is the last step that was done, *lost* what of it was not.

    *tree* has each path with its kind, content, mode, owner and (where it was set) time of modification.
    """

    after: str
    lost: str
    said: str
    tree: dict[str, tuple[Any, ...]]

    def lay_out(self, root: Path, directory: Path) -> None:
        """Makes the existing *directory* what *root* would be."""
        for entry in directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        begin = os.path.realpath(root)
        for path, (kind, content, mode, owner, modified) in sorted(self.tree.items()):
            if path != begin and not path.startswith(begin + "/"):
                continue
            target = directory / os.path.relpath(path, begin)
            if kind == "link":
                target.symlink_to(content.decode())
                continue
            if kind == "directory":
                target.mkdir(exist_ok=True)
            else:
                target.write_bytes(content)
            os.chown(target, *owner)
            target.chmod(mode)
            if modified is not None:
                os.utime(target, (modified, modified))


class Recording:
    """What a program did below *roots*, how it ended (:attr:`done`), and what lies there then (:attr:`end`)."""

    def __init__(self, roots: Sequence[Path], done: subprocess.CompletedProcess[str], trace: str, begin: Any) -> None:
        self.done = done
        self._begin = begin
        self._roots = [os.path.realpath(root) for root in roots]
        self._trace = trace
        *_states, last = self._states()
        self.end = Cut(last.after, "nothing", last.said, last.tree())
        found = {path: node[:3] for root in self._roots for path, node in _tree(root, _read(Path(root))).items()}
        made = {path: node[:3] for path, node in self.end.tree.items()}
        if found != made:
            differing = sorted(path for path in {*found, *made} if found.get(path) != made.get(path))
            raise UnknownCallError(f"the model is not what lies on the disk: {differing}")

    def unsynced(self, *, when_said: str | None = None, but: Sequence[str] = ()) -> list[str]:
        """What could be lost at the end, or at the moment when the program said *when_said*; files named *but* aside.

        Each in words, as "rename …/status.json.new to …/status.json".
        """
        for state in self._states():
            if when_said is not None and when_said in state.said:
                break
        else:
            if when_said is not None:
                raise UnknownCallError(f"it never said {when_said!r}, but: {state.said!r}")
        return [words for words in state.unsynced() if not any(words.endswith("/" + name) for name in but)]

    def cuts(self) -> Iterator[Cut]:
        """Each different state that may be found after a cut, in the order in which they become possible."""
        seen: set[Any] = set()
        for state in self._states():
            for lost, tree in state.outcomes():
                # What was said until then tells states apart: after a word there is more that must hold.
                key = (state.said, tuple(sorted(tree.items())))
                if key not in seen:
                    seen.add(key)
                    yield Cut(state.after, lost, state.said, tree)

    def _states(self) -> Iterator[_Disk]:
        """The same model after each step."""
        disk = _Disk(self._roots, *self._begin)
        yield disk
        begun: dict[str, str] = {}
        for line in self._trace.splitlines():
            unfinished = _BEGUN.match(line)
            if unfinished:
                begun[unfinished[1]] = unfinished[2]
                continue
            resumed = _RESUMED.match(line)
            call = _CALL.match(f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}" if resumed else line)
            if call and disk.play(*call.groups()):
                yield disk
        yield disk


def record(argv: Sequence[str | Path], *, roots: Sequence[Path], timeout: float = 120, **how: Any) -> Recording:
    """Runs *argv* to its end and notes what it and its children do below *roots*, which exist and may be changed.

    *how* goes to ``subprocess.run``; output is captured as text.
    """
    before = {os.path.realpath(root): _read(Path(os.path.realpath(root))) for root in roots}
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory, "trace")
        strace = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-e", f"trace={_TRACED}"]
        strace += ["-e", "signal=none", "-o", str(trace)]
        done = subprocess.run(
            [*strace, *map(str, argv)], capture_output=True, text=True, timeout=timeout, check=False, **how
        )
        return Recording(roots, done, trace.read_text(), (before, os.path.realpath(how.get("cwd") or ".")))


class _Disk:
    """The model. *said* is what the program wrote to its output so far."""

    def __init__(self, roots: Sequence[str], before: dict[str, _Node], directory: str) -> None:
        self._roots = {root: _copied(before[root]) for root in roots}
        self._pending: list[_Edit] = []
        self._offsets: dict[tuple[str, str], list[Any]] = {}
        self._directory, self._directories = directory, dict[str, str]()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self.said = ""
        self.after = "the start"

    # What it is now and what it may become.

    def tree(self) -> dict[str, tuple[Any, ...]]:
        """All of it as the kernel shows it."""
        return self._walked(self._pending, written=True)

    def outcomes(self) -> Iterator[tuple[str, dict[str, tuple[Any, ...]]]]:
        """What may be lost, in words, and what then is there."""
        pending = self._pending
        kept = [(f"names from {pending[at].words} on", pending[:at]) for at in range(len(pending))]
        kept += [(edit.words, [other for other in pending if other is not edit]) for edit in pending]
        for lost, edits in [("nothing", pending), *kept]:
            for written in (True, False):
                yield lost + ("" if written else ", and content"), self._walked(edits, written=written)

    def unsynced(self) -> list[str]:
        """Pending names and contents, in words."""
        found = [edit.words for edit in self._pending]
        for root, node in self._roots.items():
            found += [
                f"content or attributes of {path}"
                for path, inner in _nodes(root, node)
                if inner.kind != "link" and inner.now() != inner.kept
            ]
        return found

    def _walked(self, edits: list[_Edit], *, written: bool) -> dict[str, tuple[Any, ...]]:
        changed: dict[_Node, dict[str, _Node]] = {}
        for edit in edits:
            for directory, name, node in edit.names:
                names = changed.setdefault(directory, dict(directory.kept_names))
                names.pop(name, None)
                if node is not None:
                    names[name] = node
        tree: dict[str, tuple[Any, ...]] = {}
        todo = list(self._roots.items())
        while todo:
            path, node = todo.pop()
            tree[path] = (node.kind, *(node.now() if written else node.kept))
            if node.kind == "directory":
                names = changed.get(node, node.kept_names)
                todo += [(f"{path}/{name}", inner) for name, inner in names.items()]
        return tree

    # Steps.

    def play(self, pid: str, call: str, text: str, result: str, opened: str | None, _rest: str) -> bool:
        """One call; whether the disk, or what was said, is another one by it."""
        arguments = [argument.strip() for argument in _ARGUMENT.findall(text)]
        if int(result if result != "?" else -1) < 0:
            return False
        for argument in arguments:
            if argument.startswith("AT_FDCWD<"):
                self._directories[pid] = _decoded(argument[len("AT_FDCWD<") : -1])
        if call in ("write", "writev") and arguments[0].startswith(("1<", "2<")) and not self._is_ours(arguments[0]):
            self.said += b"".join(_strings(text))[: int(result)].decode(errors="replace")
            return True
        if call == "umask":
            self._umask = int(arguments[0], 8)
            return False
        if call in ("sync", "syncfs"):
            for root, node in self._roots.items():
                for _path, inner in _nodes(root, node):
                    inner.keep()
            self._settle(self._pending)
            return self._done(call)
        play = getattr(self, f"_{call}", None) or getattr(self, f"_{call.removesuffix('2').removesuffix('at')}", None)
        if call in _UNKNOWN.split() or play is None:
            if any(self._is_ours(argument, pid) for argument in arguments):
                raise UnknownCallError(f"{call} is not known here: {text[:400]}")
            return False
        return bool(play(pid, call, arguments, result, opened))

    def _done(self, words: str) -> bool:
        self.after = words
        return True

    def _is_ours(self, argument: str, pid: str = "") -> bool:
        found = _DESCRIPTOR.match(argument)
        path = _decoded(found[2]) if found and found[2] else b"".join(_strings(argument)).decode(errors="replace")
        if argument.startswith('"'):
            path = os.path.normpath(os.path.join(self._directories.get(pid, self._directory), path))
        return any(path == root or path.startswith(root + "/") for root in self._roots)

    def _path(self, pid: str, arguments: list[str]) -> str:
        """The path of the first one or two of *arguments*, which are taken away."""
        base = self._directories.get(pid, self._directory)
        if not arguments[0].startswith('"'):
            base = _decoded(_DESCRIPTOR.match(arguments.pop(0))[2] or "")  # type: ignore[index]
        path = _strings(arguments.pop(0))[0].decode()
        return os.path.normpath(os.path.join(base, path))

    def _found(self, path: str) -> _Node | None:
        for root, node in self._roots.items():
            if path == root:
                return node
            if path.startswith(root + "/"):
                inner: _Node | None = node
                for name in path[len(root) + 1 :].split("/"):
                    inner = inner.names.get(name) if inner else None
                return inner
        return None

    def _named(self, *changes: tuple[str, _Node | None], words: str) -> bool:
        edit = _Edit(words, [])
        for path, node in changes:
            parent = self._found(os.path.dirname(path))
            if parent is None:
                continue
            name = os.path.basename(path)
            parent.names.pop(name, None)
            if node is not None:
                parent.names[name] = node
            edit.names.append((parent, name, node))
        if not edit.names:
            return False
        if len(edit.names) != len(changes):
            raise UnknownCallError(f"{words}: between what is looked at and what is not")
        self._pending.append(edit)
        return self._done(words)

    def _settle(self, edits: list[_Edit]) -> None:
        for edit in list(edits):
            for directory, name, node in edit.names:
                directory.kept_names.pop(name, None)
                if node is not None:
                    directory.kept_names[name] = node
        self._pending = [edit for edit in self._pending if edit not in edits]

    def _of_descriptor(self, argument: str) -> tuple[str, _Node | None]:
        found = _DESCRIPTOR.match(argument)
        if not found or not found[2] or found[3]:
            return "", None
        path = _decoded(found[2])
        return path, self._found(path)

    def _open(self, pid: str, _call: str, arguments: list[str], result: str, opened: str | None) -> bool:
        path = _decoded(opened or "")
        if not self._is_ours(f"9<{opened}>"):
            return False
        flags = next((argument for argument in arguments if argument.startswith("O_")), "O_CREAT|O_TRUNC")
        if "O_TMPFILE" in flags:
            raise UnknownCallError(f"a file without a name in {path}")
        node, changed = self._found(path), False
        if node is None:
            if "O_CREAT" not in flags:
                raise UnknownCallError(f"{path} was opened, and nothing made it")
            node = _Node("file", int(arguments[-1], 8) & ~self._umask, (os.geteuid(), os.getegid()))
            changed = self._named((path, node), words=f"create {path}")
        elif "O_TRUNC" in flags and node.content:
            node.content, node.modified = b"", None
            changed = self._done(f"empty {path}")
        self._offsets[(pid, result)] = self._offsets[("", path + "\0" + result)] = [0, "O_APPEND" in flags]
        return changed

    _creat = _open

    def _offset(self, pid: str, argument: str, path: str) -> list[Any]:
        number = argument.partition("<")[0]
        # Threads share their descriptors, and strace tells them apart.
        return self._offsets.get(("", path + "\0" + number)) or self._offsets.setdefault((pid, number), [0, False])

    def _write(self, pid: str, call: str, arguments: list[str], result: str, _opened: str | None) -> bool:
        path, node = self._of_descriptor(arguments[0])
        if node is None:
            return False
        data = b"".join(_strings(",".join(arguments[1:])))[: int(result)]
        offset = self._offset(pid, arguments[0], path)
        at = int(arguments[-1]) if call == "pwrite64" else len(node.content) if offset[1] else offset[0]
        if call != "pwrite64":
            offset[0] = at + len(data)
        node.content = node.content[:at].ljust(at, b"\0") + data + node.content[at + len(data) :]
        node.modified = None
        return self._done(f"write {path}")

    _writev = _pwrite64 = _write

    def _lseek(self, pid: str, _call: str, arguments: list[str], result: str, _opened: str | None) -> bool:
        path, node = self._of_descriptor(arguments[0])
        if node is not None:
            self._offset(pid, arguments[0], path)[0] = int(result)
        return False

    def _dup(self, pid: str, call: str, arguments: list[str], result: str, _opened: str | None) -> bool:
        path, node = self._of_descriptor(arguments[0])
        if node is not None and (call != "fcntl" or arguments[1].startswith("F_DUPFD")):
            self._offsets[("", path + "\0" + result)] = self._offset(pid, arguments[0], path)
        return False

    _dup2 = _dup3 = _fcntl = _dup

    def _ftruncate(self, _pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        path, node = self._of_descriptor(arguments[0])
        if node is None:
            return False
        size = int(arguments[1])
        node.content, node.modified = node.content[:size].ljust(size, b"\0"), None
        return self._done(f"cut {path}")

    def _fsync(self, _pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        path, node = self._of_descriptor(arguments[0])
        if node is None:
            return False
        node.keep()
        if node.kind == "directory":
            # A rename between two directories is one transaction of the journal.
            self._settle([edit for edit in self._pending if any(each is node for each, _name, _node in edit.names)])
        return self._done(f"sync {path}")

    _fdatasync = _fsync

    def _rename(self, pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        rest = list(arguments)
        old, new = self._path(pid, rest), self._path(pid, rest)
        if rest and rest[0] not in ("0", "RENAME_NOREPLACE"):
            raise UnknownCallError(f"rename {old} to {new} with {rest[0]}")
        node = self._found(old)
        return self._named((old, None), (new, node), words=f"rename {old} to {new}")

    def _link(self, pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        rest = list(arguments)
        old, new = self._path(pid, rest), self._path(pid, rest)
        return self._named((new, self._found(old)), words=f"link {new}")

    def _symlink(self, pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        target = _strings(arguments[0])[0]
        path = self._path(pid, arguments[1:])
        return self._named((path, _Node("link", 0o777, (os.geteuid(), os.getegid()), target)), words=f"link {path}")

    def _unlink(self, pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        path = self._path(pid, list(arguments))
        return self._named((path, None), words=f"remove {path}")

    _rmdir = _unlink

    def _mkdir(self, pid: str, _call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        path = self._path(pid, list(arguments))
        made = _Node("directory", int(arguments[-1], 8) & ~self._umask, (os.geteuid(), os.getegid()))
        return self._named((path, made), words=f"make {path}")

    def _attribute(self, pid: str, call: str, arguments: list[str], _result: str, _opened: str | None) -> bool:
        rest = list(arguments)
        if call in ("fchmod", "fchown") or (call == "utimensat" and not rest[1].startswith('"')):
            path, node = self._of_descriptor(rest.pop(0))
        else:
            path = self._path(pid, rest)
            node = self._found(path)
        if node is None:
            return False
        if "chmod" in call:
            node.mode = int(rest[0], 8)
        elif "chown" in call:
            given = [int(part) for part in rest[:2]]
            node.owner = tuple(new if new >= 0 else old for new, old in zip(given, node.owner))  # type: ignore[assignment]
        else:
            # Of access and modification the second; without both it is the time of the call.
            moments = _MOMENT.findall(",".join(rest))
            seconds, parts, special = moments[1] if len(moments) == 2 else ("", "", "NOW")
            if special != "OMIT":
                node.modified = int(seconds) + int(parts) / 1e9 if seconds else None
        return self._done(f"attributes of {path}")

    _chmod = _fchmod = _chown = _lchown = _fchown = _utimens = _attribute


def _strings(text: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(text)]


def _decoded(path: str) -> str:
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path


def _read(path: Path) -> _Node:
    """What lies at *path*, all of it on the disk."""
    status = path.lstat()
    mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    if path.is_symlink():
        return _Node("link", mode, owner, os.fsencode(os.readlink(path)))
    if path.is_dir():
        names = {entry.name: _read(entry) for entry in path.iterdir()}
        return _Node("directory", mode, owner, names=names, kept_names=dict(names))
    return _Node("file", mode, owner, path.read_bytes() if path.is_file() else b"", status.st_mtime)


def _copied(node: _Node) -> _Node:
    """As :func:`_read` made it, for another play."""
    names = {name: _copied(inner) for name, inner in node.names.items()}
    return _Node(node.kind, node.mode, node.owner, node.content, node.modified, names, kept_names=dict(names))


def _nodes(path: str, node: _Node) -> Iterator[tuple[str, _Node]]:
    yield path, node
    for name, inner in node.names.items():
        yield from _nodes(f"{path}/{name}", inner)


def _tree(root: str, node: _Node) -> dict[str, tuple[Any, ...]]:
    return {path: (inner.kind, *inner.now()) for path, inner in _nodes(root, node)}
