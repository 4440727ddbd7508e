# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a server over HTTP or HTTPS, whatever proxies the environment names. No Ansible in here."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from typing import Any


class _HTTPS(urllib.request.HTTPSHandler):
    """Reads the certificates that the system trusts when a request needs them.

    The handler of Python 3.12 and later does it when it is made, in up to 20 ms, and is made for HTTP as well. It is
    given an empty context instead, which nothing uses.
    """

    def __init__(self) -> None:
        super().__init__(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def https_open(self, req: urllib.request.Request) -> Any:
        """Open a connection that checks certificate and host name."""
        return self.do_open(http.client.HTTPSConnection, req)


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Open URLs without a proxy, with ``handlers`` in place of the usual ones of their kind."""
    own_tls = any(isinstance(one, urllib.request.HTTPSHandler) for one in handlers)
    tls = [] if own_tls else [_HTTPS()]
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *tls, *handlers)
