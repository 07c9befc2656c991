# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store of trusted roots as state: what of some sources belongs into it, what is there, and how the two differ.

Which roots are trusted is what their owner wrote down: fingerprints. Sources only bring the certificates along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..outside import durable
from ..outside.files import FileError, read_file
from ..outside.visible import visible_few
from .certificate import Certificate
from .findings import TrustError
from .limits import MAXIMAL_FILE_BYTES, MAXIMAL_STORE_CHECKS
from .names import COMMON_NAME
from .path import PathFinder
from .store import ANY_MAKER, CERTIFICATE_SUFFIXES, Store, read_store

# Tells a directory that this made, in which it may remove files, from one that somebody else filled.
MARK = ".tpmfleet-ek-roots"
_MARK_CONTENT = b"This directory is written by the module tpmfleet.azure_dps.ek_roots. Changes are undone.\n"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """*files* are what the store is to hold, by path in it. *lines* and *before* tell it for people, one a certificate.

    *left_out* has roots of the sources that are not pinned, and intermediates that lead to none that is.
    """

    files: dict[str, bytes]
    lines: list[str]
    before: list[str]
    write: list[str]
    remove: list[str]
    left_out: list[Certificate]

    @property
    def changed(self) -> bool:
        """Whether something is to be done."""
        return bool(self.write or self.remove)


def fingerprint(text: str) -> str:
    """A SHA-256 as people write it, with colons or without, in lower case. TrustError where it is none."""
    plain = "".join(text.lower().removeprefix("sha256:").replace(":", "").split())
    if not _FINGERPRINT.fullmatch(plain):
        raise TrustError(f"'{text}' is no fingerprint: a SHA-256 has 64 hexadecimal digits, with colons or without.")
    return plain


def plan(source: Store, pinned: Iterable[str], path: str, *, skip_others: bool) -> Plan:
    """How the store in *path* is to be changed so that it has the *pinned* roots of *source*, with what leads to them.

    TrustError where a pinned root is not there, where *source* has another one unless *skip_others*, and where *path*
    is somebody else's.
    """
    wanted = {fingerprint(one) for one in pinned}
    _check_pins(source, wanted, skip_others=skip_others)
    kept = Store()
    for one in source.roots.values():
        if one.sha256 in wanted:
            kept.add(one, source.bound.get(one.sha256, frozenset()), anchor=True)
    files = {MARK: _MARK_CONTENT}
    lines = []
    for one in kept.roots.values():
        makers = sorted(kept.bound.get(one.sha256, ())) or [ANY_MAKER]
        files.update({f"{maker}/RootCA/{_name(one)}": one.data for maker in makers})
        lines.append(_line(one, "root", makers))
    roots = _roots_of_intermediates(source, kept)
    for one in source.intermediates.values():
        if one.sha256 in roots:
            maker = (sorted(kept.bound.get(roots[one.sha256], ())) or [ANY_MAKER])[0]
            files[f"{maker}/IntermediateCA/{_name(one)}"] = one.data
            lines.append(_line(one, "intermediate", [maker]))
    left_out = [one for one in source.roots.values() if one.sha256 not in wanted]
    left_out += [one for one in source.intermediates.values() if one.sha256 not in roots]
    there = _present(path)
    return Plan(
        files=files,
        lines=sorted(lines),
        before=_lines_of(path) if there else [],
        write=sorted(name for name, data in files.items() if there.get(name) != data),
        remove=sorted(set(there) - set(files)),
        left_out=left_out,
    )


def apply(made: Plan, path: str) -> None:
    """Writes and removes what *made* says. Cut off anywhere, the next run completes it. TrustError where it cannot."""
    try:
        _apply(made, Path(path).absolute())
    except OSError as error:
        raise TrustError(
            f"The store {path} cannot be written: {error.strerror} ({error.filename}). Mend that and run again, which "
            "completes it."
        ) from None


def _apply(made: Plan, base: Path) -> None:
    for name in sorted(made.write, key=lambda one: one != MARK):
        target = base / name
        durable.make_directory(str(target.parent), 0o755, None)
        durable.replace_file(str(target), made.files[name], 0o644)
    for name in made.remove:
        durable.remove(str(base / name))
    for directory in sorted((one for one in base.rglob("*") if one.is_dir()), reverse=True):
        if not directory.is_symlink():
            durable.remove_empty_directory(str(directory))


def _check_pins(source: Store, wanted: set[str], *, skip_others: bool) -> None:
    missing = sorted(wanted - set(source.roots))
    others = [one for one in source.roots.values() if one.sha256 not in wanted]
    if not wanted:
        raise TrustError(
            f"No root is pinned, and the sources have {len(others)}. Look at them with ek_roots_info, compare their "
            "fingerprints by another way than that by which they came, and write down those that you trust."
        )
    below = [one for one in missing if one in source.intermediates]
    if below:
        told = " and ".join(str(source.intermediates[one].subject) for one in below[:5])
        raise TrustError(
            f"{told} was issued by another authority, and is no root where it lies. Nothing was changed: pin the root "
            "that it leads to, or, where its maker publishes none, have it lie in a directory MAKER/RootCA of a source."
        )
    if missing:
        raise TrustError(
            f"The sources have no root with the fingerprint {' or '.join(missing[:5])}. Was it withdrawn? Nothing was "
            "changed: bring it along in another source, or take it off the fingerprints."
        )
    if others and not skip_others:
        told = visible_few([f"{one.subject} ({one.sha256})" for one in others], most=None, separator="; ")
        raise TrustError(
            f"The sources have roots that are not pinned: {told}. Nothing was changed: compare their "
            "fingerprints by another way and add them to fingerprints, or set unpinned to skip."
        )


def _roots_of_intermediates(source: Store, kept: Store) -> dict[str, str]:
    """The pinned root that each intermediate leads to, by fingerprints."""
    whole = Store()
    for one in kept.roots.values():
        whole.add(one, anchor=True)
    for one in source.intermediates.values():
        whole.add(one)
    finder = PathFinder(whole, checks=MAXIMAL_STORE_CHECKS)
    ends = {one.sha256: finder.find(one, (), ()).root for one in source.intermediates.values()}
    if finder.is_exhausted:
        raise TrustError(
            "The sources have so many intermediate certificates of the same names that it takes too long to tell which "
            "of them lead to a pinned root. No TPM maker has as many: take out those that did not come from one."
        )
    return {name: root.sha256 for name, root in ends.items() if root}


def _present(path: str) -> dict[str, bytes]:
    base = Path(path)
    if not base.exists():
        return {}
    if not base.is_dir():
        raise TrustError(f"{path} is no directory, and the store is one.")
    if not (base / MARK).exists() and any(base.iterdir()):
        raise TrustError(
            f"{path} is not empty, and was not made by ek_roots, which would remove what it does not know. Name an "
            "empty or a new directory; what is in this one can be a source."
        )
    there = (one for one in base.rglob("*") if one.name.lower().endswith((*CERTIFICATE_SUFFIXES, MARK)))
    return {str(one.relative_to(base)): _content(one) for one in there if one.is_symlink() or not one.is_dir()}


def _content(file: Path) -> bytes:
    """What is in a file of the store; nothing for what this did not make, so that it is replaced or removed."""
    try:
        return b"" if file.is_symlink() else read_file(file, most=MAXIMAL_FILE_BYTES)
    except FileError:
        return b""


def _lines_of(path: str) -> list[str]:
    try:
        store = read_store([path], needs_root=False)
    except TrustError:
        return []
    found = [_line(one, "root", sorted(store.bound.get(one.sha256, ())) or [ANY_MAKER]) for one in store.roots.values()]
    for one in store.intermediates.values():
        found.append(_line(one, "intermediate", [Path(store.places[one.sha256][0]).parent.parent.name]))
    return sorted(found)


def _line(one: Certificate, kind: str, makers: list[str]) -> str:
    return f"{kind} {'+'.join(makers)} {one.sha256} {one.subject}"


def _name(one: Certificate) -> str:
    told = ", ".join(value for kind, value in one.subject.attributes if kind == COMMON_NAME) or str(one.subject)
    words = "-".join(re.findall(r"[A-Za-z0-9]+", told))
    return f"{words[:60]}-{one.sha256[:16]}.crt"
