# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask over HTTP whether something is ready, and judge the answer as a health check of HAProxy does. No Ansible in here.

The same bytes are asked, and the same part of the answer counts: a complete head whose status is a wanted one. A
redirection is an answer like any other, what is no HTTP is none, and the body is not waited for. So what a node is
found to be is what every load balancer finds.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

LONGEST_HEAD = 16384
"""HAProxy's own limit, in bytes."""
SHOWN = 200
STATUS_LINE = re.compile(rb"HTTP/1\.[01] +([1-5]\d\d)(?: .*)?")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")

Ranges = Sequence["tuple[int, int]"]
"""Wanted statuses, each first and last."""


class NoAnswer(Exception):
    """There is no answer that could be judged; the text says why."""


def ask(url: str, host: str, wanted: Ranges, timeout: float) -> tuple[bool, str]:
    """Whether ``url`` answers with a wanted status within ``timeout`` seconds, and one line about it.

    ``host`` is the Host header, that of the URL when empty. Certificates are not checked: they are for the clients.
    """
    deadline = time.monotonic() + timeout
    try:
        with _connect(urlsplit(url), timeout) as link:
            link.sendall(_request(urlsplit(url), host))
            head, rest = _head(link, deadline)
            status = _status(head)
            good = any(low <= status <= high for low, high in wanted)
            detail = "" if good else _detail(link, rest, deadline)
    except (OSError, ValueError, NoAnswer) as error:
        return False, f"{url} gave no answer ({error})"
    return good, f"{url} answered {status}{': ' + detail if detail else ''}"


def _connect(url: SplitResult, timeout: float) -> socket.socket:
    default = 443 if url.scheme == "https" else 80
    link = socket.create_connection((url.hostname or "", url.port or default), timeout=timeout)
    if url.scheme != "https":
        return link
    try:
        # Loaded where it is needed: it costs what a look at HAProxy does.
        import ssl  # noqa: PLC0415

        return ssl._create_unverified_context().wrap_socket(link, server_hostname=url.hostname)
    except BaseException:
        link.close()
        raise


def _request(url: SplitResult, host: str) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = (f"GET {target} HTTP/1.1", f"host: {host or url.netloc}", "connection: close", "", "")
    return "\r\n".join(lines).encode("ascii")


def _more(link: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    link.settimeout(left)
    return link.recv(LONGEST_HEAD)


def _head(link: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    """The head of the answer, without its empty line, and what has arrived of the body."""
    said = b""
    while not (parts := re.split(rb"\r?\n\r?\n", said, maxsplit=1))[1:]:
        if len(said) > LONGEST_HEAD:
            raise NoAnswer("what it says is no HTTP, or has an endless head")
        part = _more(link, deadline)
        if not part:
            raise NoAnswer("it ended in the head of its answer" if said else "it said nothing")
        said += part
    return parts[0], parts[1]


def _status(head: bytes) -> int:
    """The status that a head tells; NoAnswer where it is not one that HAProxy would read."""
    first, *lines = re.split(rb"\r?\n(?![ \t])", head)
    found = STATUS_LINE.fullmatch(first)
    headers = [HEADER.fullmatch(line.replace(b"\r\n", b" ")) for line in lines]
    if found is None or None in headers:
        raise NoAnswer(f"what it says is no HTTP: {(first if found is None else head)[:SHOWN]!r}")
    lengths = {one.group(2) for one in headers if one and one.group(1).lower() == b"content-length"}
    if len(lengths) > 1 or not all(re.fullmatch(rb"\d{1,18}", one) for one in lengths):
        raise NoAnswer("its answer has no length that could be told")
    return int(found.group(1))


def _detail(link: socket.socket, begun: bytes, deadline: float) -> str:
    """The beginning of the body, as far as it comes."""
    try:
        while len(begun) < SHOWN and (part := _more(link, deadline)):
            begun += part
    except OSError:
        pass
    return " ".join(begun[:SHOWN].decode("utf-8", "replace").split())
