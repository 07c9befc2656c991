# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What TPM makers' roots come in: Microsoft's cabinet, tarballs, ZIP archives.

Only regular files with a certificate's name are taken out, below one directory, each within its bound. Cabinets are
read by cabextract(1), and their signature (Authenticode) is checked by osslsigncode(1).
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..outside.files import FileError, open_file
from ..outside.visible import visible
from .findings import TrustError
from .limits import MAXIMAL_FILE_BYTES, MAXIMAL_STORE_FILES
from .store import CERTIFICATE_SUFFIXES, Store, read_store

_TIMEOUT_SECONDS = 60
# What an archive may hold altogether; Microsoft's has 2 MB.
_MAXIMAL_EXPANDED = 64 << 20
_CABINET, _ZIP = b"MSCF", b"PK\x03\x04"
_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


def is_archive(path: str) -> bool:
    """Whether *path* is a file that holds others."""
    if os.path.isdir(path):
        return False
    try:
        with open_file(path) as file:
            beginning = file.read(4)
    except FileError:
        return False
    return beginning in (_CABINET, _ZIP) or path.lower().endswith(_TAR_ENDINGS)


def read_sources(paths: Iterable[str], *, needs_root: bool = True) -> Store:
    """The store of what is in *paths*: files and directories as in :func:`read_store`, and archives of them.

    An archive counts as a directory of its name without its ending.
    """
    with tempfile.TemporaryDirectory(prefix="tpmfleet-") as directory:
        places = []
        told = {}
        for number, path in enumerate(paths):
            place = path
            if is_archive(path):
                name = re.sub(r"\.(cab|zip|t[a-z]z[0-9]?|tar(\.[a-z0-9]+)?)$", "", Path(path).name, flags=re.IGNORECASE)
                place = os.path.join(directory, str(number), name)
                os.makedirs(place)
                expand(path, place)
                told[place] = path
            places.append(place)
        try:
            store = read_store(places, needs_root=needs_root)
        except TrustError as error:
            raise TrustError(_named_as(str(error), told)) from None
    store.places = {key: [_named_as(one, told) for one in names] for key, names in store.places.items()}
    store.unusable = [(_named_as(one, told), why) for one, why in store.unusable]
    store.unnamed = {_named_as(one, told): count for one, count in store.unnamed.items()}
    return store


def _named_as(text: str, told: dict[str, str]) -> str:
    """*text* with the names of archives in the place of where they were expanded."""
    for place, path in told.items():
        text = text.replace(place, path)
    return text


def expand(path: str, into: str) -> None:
    """Takes the certificates of the archive *path* out into the empty directory *into*. TrustError where it cannot."""
    with open_file(path) as file:
        beginning = file.read(4)
    try:
        if beginning == _CABINET:
            _expand_cabinet(path, into)
        elif beginning == _ZIP:
            with zipfile.ZipFile(path) as archive:
                _write(into, _members_of_zip(archive))
        else:
            with tarfile.open(path, "r:*") as tar:
                _write(into, _members_of_tar(tar))
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as fault:
        raise TrustError(f"The archive {path} cannot be expanded ({visible(fault, most=200)}).") from None


def check_cabinet(path: str, authorities: str) -> str:
    """Who signed the cabinet *path*, below one of the *authorities* (a PEM file). TrustError where nobody did."""
    program = shutil.which("osslsigncode")
    if program is None:
        raise TrustError("osslsigncode is not there, which checks the signature of a cabinet: install osslsigncode.")
    done = _run([program, "verify", "-CAfile", authorities, "-TSA-CAfile", authorities, "-in", path], "osslsigncode")
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        lines = [line.strip() for line in said.splitlines() if "error" in line.lower() or "fail" in line.lower()]
        why = visible("; ".join(lines[:3]) or "no signature", most=300)
        raise TrustError(
            f"{path} is not signed by anybody below {authorities} ({why}). Do not use it: get it again from its maker."
        )
    subjects = [line.partition("Subject:")[2].strip() for line in said.splitlines() if "Subject:" in line]
    return visible(subjects[0], most=200) if subjects else "unknown"


def is_cabinet(path: str) -> bool:
    """Whether *path* is a cabinet file."""
    try:
        with open_file(path) as file:
            return file.read(4) == _CABINET
    except FileError:
        return False


def _expand_cabinet(path: str, into: str) -> None:
    program = shutil.which("cabextract")
    if program is None:
        raise TrustError("cabextract is not there, which expands cabinet files: install cabextract, or expand it.")
    done = _run([program, "--quiet", "--directory", into, "--", os.path.abspath(path)], "cabextract")
    if done.returncode:
        said = visible(" ".join(done.stderr.decode("utf-8", "replace").split()), most=300)
        raise TrustError(f"The cabinet {path} cannot be expanded ({said}).")


def _run(command: list[str], name: str) -> subprocess.CompletedProcess[bytes]:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAXIMAL_EXPANDED, _MAXIMAL_EXPANDED))

    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            preexec_fn=bound,
        )
    except subprocess.TimeoutExpired:
        raise TrustError(f"{name} was not done within {_TIMEOUT_SECONDS} s.") from None


def _members_of_zip(archive: zipfile.ZipFile) -> Iterator[tuple[str, int, BinaryIO | None]]:
    for one in archive.infolist():
        yield one.filename, one.file_size, None if one.is_dir() else archive.open(one)  # type: ignore[misc]


def _members_of_tar(tar: tarfile.TarFile) -> Iterator[tuple[str, int, BinaryIO | None]]:
    for one in tar:
        yield one.name, one.size, tar.extractfile(one) if one.isreg() else None  # type: ignore[misc]


def _write(into: str, members: Iterator[tuple[str, int, BinaryIO | None]]) -> None:
    total = count = 0
    for name, size, stream in members:
        total += size
        count += 1
        if total > _MAXIMAL_EXPANDED or count > MAXIMAL_STORE_FILES:
            raise ValueError(f"it holds more than {MAXIMAL_STORE_FILES} files or {_MAXIMAL_EXPANDED >> 20} MB")
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
        if stream is None or not parts or not name.lower().endswith(CERTIFICATE_SUFFIXES):
            continue
        target = Path(into, *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        # What is larger than it said is refused where it is read.
        with stream, open(target, "xb") as file:
            file.write(stream.read(MAXIMAL_FILE_BYTES + 1))
