# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hub over HTTPS: a device may list its own modules, of which it has none."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from aiohttp import web

from .admission import Refused, Unknown, admit

DATABASE = web.AppKey("database", Path)
log = logging.getLogger("hub_front")


async def _modules(request: web.Request) -> web.Response:
    try:
        admit(
            request.app[DATABASE],
            device_id=request.match_info["device_id"],
            token=request.headers.get("Authorization", ""),
        )
    except Refused as refused:
        log.warning("refused: %s", refused)
        status, code = (404, "DeviceNotFound") if isinstance(refused, Unknown) else (401, "IotHubUnauthorizedAccess")
        return web.json_response({"Message": f"ErrorCode:{code};{refused}"}, status=status)
    return web.json_response([])


async def start_https(database: Path, certificate: Path, *, port: int) -> web.AppRunner:
    """Serves on the loopback until the runner is cleaned up."""
    app = web.Application()
    app[DATABASE] = database
    app.add_routes([web.get("/devices/{device_id}/modules", _modules)])
    secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secured.load_cert_chain(certificate)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=secured).start()
    return runner
