# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rack of simulated devices: each with an sshd, a file system view and a software TPM of its own.

Imports nothing from the collection's plugins: the rack is the world that they are tried against.
"""
