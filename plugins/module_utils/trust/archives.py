# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What TPM makers' roots come in: Microsoft's cabinet, tarballs, ZIP archives.

Only regular files with a certificate's name are taken out, below one directory, each within its bound. What an archive
says of its sizes is not believed: it is expanded to a bound and no further. Cabinets are read by cabextract(1), and
their signature (Authenticode) is checked by osslsigncode(1).
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..outside.files import FileError, open_file, read_file
from ..outside.visible import visible
from .findings import TrustError
from .limits import MAXIMAL_FILE_BYTES, MAXIMAL_STORE_FILES
from .programs import run_program
from .store import CERTIFICATE_SUFFIXES, Store, read_store

# An archive, and what it may hold altogether. Microsoft's has 1 MB and holds 2.
_MAXIMAL_ARCHIVE = 16 << 20
_MAXIMAL_EXPANDED = 16 << 20
_BOUNDS = {"seconds": 60, "largest_file": _MAXIMAL_EXPANDED}
# What stands before a file in a tarball: a long name, or what it has beside its content.
_MAXIMAL_HEADER = 1 << 16
# Compressors that work side by side write one stream after another.
_MAXIMAL_STREAMS = 100
_XZ_MEMORY = 80 << 20
_CABINET, _ZIP, _ZIP_ENTRY = b"MSCF", b"PK\x03\x04", b"PK\x01\x02"
_COMPRESSIONS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
)
_LISTED_IN_CABINET = re.compile(r"^\s*(\d+) \|", re.MULTILINE)
_TAR_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
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
    try:
        content = read_file(path, most=_MAXIMAL_ARCHIVE)
        if content.startswith(_CABINET):
            _expand_cabinet(path, into)
        elif content.startswith(_ZIP):
            # An object for each entry is made before the first one is seen.
            if content.count(_ZIP_ENTRY) > MAXIMAL_STORE_FILES:
                raise ValueError(_TOO_MUCH)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _write(into, _members_of_zip(archive))
        else:
            content = _decompressed(content)
            if _SPARSE in content:
                raise ValueError(_SPARSE_TOLD)
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:", tarinfo=_Member) as tar:
                _write(into, _members_of_tar(tar))
    except TrustError:
        raise
    except FileError as error:
        raise TrustError(f"The archive {path} {error}.") from None
    except Exception as fault:
        # What Python's libraries make of an archive that is none is an exception of any kind.
        raise TrustError(f"The archive {path} cannot be expanded ({visible(fault, most=200)}).") from None


# A list of pieces, which Python makes however long it says that it is.
_SPARSE, _SPARSE_ENTRY, _SPARSE_TOLD = b"GNU.sparse.", tarfile.GNUTYPE_SPARSE, "it has sparse files"
_TOO_MUCH = f"it holds more than {MAXIMAL_STORE_FILES} files or {_MAXIMAL_EXPANDED >> 20} MB"


def _decompressed(content: bytes) -> bytes:
    """A tarball without what it is compressed with. ValueError where that is more than it may be."""
    mark, make = next((one for one in _COMPRESSIONS if content.startswith(one[0])), (b"", None))
    if make is None:
        return content
    parts: list[bytes] = []
    left = _MAXIMAL_EXPANDED + 1
    while content.startswith(mark):
        stream = make()
        parts.append(stream.decompress(content, left))
        left -= len(parts[-1])
        if left <= 0 or len(parts) > _MAXIMAL_STREAMS:
            raise ValueError(_TOO_MUCH)
        if not stream.eof:
            raise ValueError("it was cut short")
        content = stream.unused_data
    return b"".join(parts)


class _Member(tarfile.TarInfo):
    """An entry of a tarball, none of which Python reads a list or a text without an end for."""

    def _proc_member(self, tarfile: Any) -> Any:
        # Where tarfile lets a subclass look at a header, before anything is read of what it announces. Newer releases
        # of Python do not call frombuf for that, which is documented.
        if self.type in _TAR_HEADERS and self.size > _MAXIMAL_HEADER:
            raise ValueError(f"it has a name or header of {self.size} bytes")
        if self.type == _SPARSE_ENTRY:
            raise ValueError(_SPARSE_TOLD)
        return super()._proc_member(tarfile)  # type: ignore[misc]

    def _block(self, count: int) -> int:
        # CVE-2025-8194: with a size below zero Python reads the same entries again and again.
        if count < 0:
            raise ValueError(f"it has an entry of {count} bytes")
        return super()._block(count)  # type: ignore[misc]


def check_cabinet(path: str, authorities: str) -> str:
    """Who signed the cabinet *path*, below one of the *authorities* (a PEM file). TrustError where nobody did."""
    missing = "checks the signature of a cabinet: install osslsigncode."
    about = ["-CAfile", authorities, "-TSA-CAfile", authorities, "-in", path]
    try:
        read_file(path, most=_MAXIMAL_ARCHIVE)
    except FileError as error:
        raise TrustError(f"The cabinet {path} {error}.") from None
    done = run_program("osslsigncode", "verify", *about, missing=missing, **_BOUNDS)
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
    missing = "expands cabinet files: install cabextract, or expand it."
    about = ["--single", "--", os.path.abspath(path)]
    listed = run_program("cabextract", "--list", *about, missing=missing, **_BOUNDS)
    sizes = _LISTED_IN_CABINET.findall(listed.stdout.decode("latin-1"))
    if len(sizes) > MAXIMAL_STORE_FILES or sum(map(int, sizes)) > _MAXIMAL_EXPANDED:
        raise ValueError(_TOO_MUCH)
    done = run_program("cabextract", "--quiet", "--directory", into, *about, missing=missing, **_BOUNDS)
    if done.returncode:
        said = visible(" ".join(done.stderr.decode("utf-8", "replace").split()), most=300)
        raise TrustError(f"The cabinet {path} cannot be expanded ({said}).")


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
            raise ValueError(_TOO_MUCH)
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
        if stream is None or not parts or not name.lower().endswith(CERTIFICATE_SUFFIXES):
            continue
        target = Path(into, *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        # What is larger than it said is refused where it is read.
        with stream, open(target, "xb") as file:
            file.write(stream.read(MAXIMAL_FILE_BYTES + 1))
