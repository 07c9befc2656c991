# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A list's file as UTF-8, whatever a spreadsheet, a shell or an editor has saved it in.

UTF-16 with its mark is what PowerShell's redirection and a spreadsheet's "Unicode text" write. It is read by way of a
temporary file in UTF-8, so that a position in it is one in bytes. Other code pages have no mark: a line that is not
UTF-8 is told where it is read.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import tempfile
from typing import BinaryIO

from ..outside.files import FileError, open_file, told_size

# UTF-16 is written twice to the disk.
MOST_UTF16 = 1 << 28
_TOO_LARGE = f"is in UTF-16 and larger than {told_size(MOST_UTF16)}; save it as UTF-8"
_CHUNK = 1 << 20
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_HEAD = 4096


class TextFile:
    """A list's bytes, in UTF-8 and without a mark: two files to read from, and where in both the text begins.

    *again* is for reading a record again while the first reading goes on. FileError where it is no file, or no text.
    """

    def __init__(self, path: str) -> None:
        self.file: BinaryIO = open_file(path)
        self.again: BinaryIO
        try:
            mark = self.file.read(4)
            if mark.startswith(_UTF32):
                raise FileError("is in UTF-32; save it as UTF-8")
            encoding = _UTF16.get(mark[:2])
            if encoding:
                self._recode(encoding)
            else:
                self.again = open_file(path)
            self.begin = len(codecs.BOM_UTF8) if mark.startswith(codecs.BOM_UTF8) else 0
            self.size = os.fstat(self.file.fileno()).st_size
        except BaseException:
            self.file.close()
            raise
        self.head = self._head()

    def close(self) -> None:
        """Closes both."""
        self.file.close()
        self.again.close()

    def _head(self) -> bytes:
        self.file.seek(self.begin)
        head = self.file.read(_HEAD)
        self.file.seek(self.begin)
        half = len(head) // 2
        if half > 8 and head.count(b"\x00") >= half - 1 and not (any(head[::2]) and any(head[1::2])):
            self.close()
            raise FileError("looks like UTF-16 without its mark; save it as UTF-8")
        return head

    def _recode(self, encoding: str) -> None:
        source = self.file
        if os.fstat(source.fileno()).st_size > MOST_UTF16:
            raise FileError(_TOO_LARGE)
        source.seek(2)
        decoder = codecs.getincrementaldecoder(encoding)()
        done, line = 0, 1
        with tempfile.NamedTemporaryFile(prefix="list-", delete=False) as recoded:
            try:
                while chunk := source.read(_CHUNK):
                    done += len(chunk)
                    if done > MOST_UTF16:
                        raise FileError(_TOO_LARGE)
                    text = decoder.decode(chunk)
                    recoded.write(text.encode("utf-8"))
                    line += text.count("\n")
                decoder.decode(b"", final=True)
                recoded.flush()
                self.file = open(recoded.name, "rb")  # noqa: SIM115
                self.again = open(recoded.name, "rb")  # noqa: SIM115
            except UnicodeDecodeError:
                raise FileError(f"has a mark of UTF-16 and is not UTF-16 on line {line} or after it") from None
            except OSError as error:
                raise FileError(f"is in UTF-16 and cannot be recoded: {error.strerror}; save it as UTF-8") from None
            finally:
                source.close()
                with contextlib.suppress(OSError):
                    os.unlink(recoded.name)


def not_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    """Why a line is refused that is in another code page, as the end of a sentence about it."""
    return (
        f"is not UTF-8 (byte 0x{line[error.start]:02x} at character {error.start + 1}), so nobody can say which "
        "letters it has; save the list as UTF-8"
    )
