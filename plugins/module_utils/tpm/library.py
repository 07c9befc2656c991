# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library tpm2-pytss, where it is needed first, and of it no more than TPM commands take.

It loads all of ``cryptography``, which does on this side what the chip does here, and the feature API. For a module
that asks a TPM three things and ends, that is more than half of its time.
"""

from __future__ import annotations

import functools
import importlib
import sys
import traceback
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_PACKAGE = "tpm2_pytss"
# What the package does without where it was built without: it takes a NotImplementedError for that.
_SPARED = frozenset((f"{_PACKAGE}.FAPI", f"{_PACKAGE}.policy"))
# The one part that loads cryptography, of which these are functions in all versions that have it.
_CRYPTO = f"{_PACKAGE}.internal.crypto"
_FUNCTIONS = frozenset(
    (
        "_calculate_sym_unique",
        "_get_digest_size",
        "_get_signature_bytes",
        "_getname",
        "_private_from_encoding",
        "_public_from_encoding",
        "_public_to_pem",
        "_verify_signature",
        "private_to_key",
    )
)


class LibraryError(Exception):
    """The library is missing, or does not fit what it stands on; the message is the traceback."""


@functools.cache
def load() -> Any:
    """The package ``tpm2_pytss``, with its ``ESAPI`` and ``TSS2_Exception``. :class:`LibraryError` without it."""
    try:
        return sys.modules.get(_PACKAGE) or _sparingly() or importlib.import_module(_PACKAGE)
    except Exception:  # the C library may be missing or of another version, which raises more than ImportError
        raise LibraryError(traceback.format_exc()) from None


def _sparingly() -> Any:
    """The package without what takes long; None for a version that is not made for that."""
    finder = _Sparing()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(_PACKAGE)
    except Exception:
        for name in [name for name in sys.modules if name.startswith(f"{_PACKAGE}.")]:
            del sys.modules[name]
        return None
    finally:
        sys.meta_path.remove(finder)


class _Sparing:
    """Finds what is spared, while the package is loaded."""

    def find_spec(self, name, _path=None, _target=None):
        """As every finder's."""
        if name in _SPARED:
            raise NotImplementedError
        return ModuleSpec(name, self) if name == _CRYPTO else None  # type: ignore[arg-type]

    def create_module(self, spec):
        """The module in whose place the real one comes later."""
        return _Later(spec.name)

    def exec_module(self, _module):
        """There is nothing in it."""


class _Later(ModuleType):
    """Has the functions of the module of its name, each of which loads that when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in _FUNCTIONS:
            return getattr(_crypto(), name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(_crypto(), name)(*args, **kwargs)

        return call


@functools.cache
def _crypto() -> ModuleType:
    package: Any = sys.modules[f"{_PACKAGE}.internal"]
    spec = PathFinder.find_spec(_CRYPTO, package.__path__)
    module = module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[_CRYPTO] = package.crypto = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module
