# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where archives come from: the cache, a mirror, the origin; and what is not believed."""

from __future__ import annotations

import hashlib
import io
import threading
import urllib.error
from email.message import Message
from pathlib import Path
from typing import IO

import pytest
from ansible_collections.mesops.platform.plugins.module_utils._core.errors import Refused
from ansible_collections.mesops.platform.plugins.module_utils._program import catalog, upstream

ARCHIVE = catalog.archive("loki", "3.7.6")
CONTENT = b"an archive"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LIST = f"{DIGEST}  {ARCHIVE.file}\n".encode()


class Web:
    """Serves what it was given, counts what it was asked."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("__", "/"): content for name, content in files.items()}
        self.asked: list[str] = []

    def serve(self, base: str, content: bytes = CONTENT, checksums: bytes | None = LIST) -> Web:
        self.files[f"{base}/{ARCHIVE.file}"] = content
        if checksums is not None:
            self.files[f"{base}/{ARCHIVE.checksums}"] = checksums
        return self

    def __call__(self, address: str) -> IO[bytes]:
        self.asked.append(address)
        if address not in self.files:
            raise urllib.error.HTTPError(address, 404, "Not Found", Message(), None)
        return io.BytesIO(self.files[address])


def find(tmp_path: Path, web: Web, **options: str) -> upstream.Found:
    return upstream.find(ARCHIVE, cache=str(tmp_path / "cache"), opener=web, **options)


def test_from_the_origin_and_then_from_the_cache(tmp_path: Path) -> None:
    web = Web().serve(ARCHIVE.url)
    first = find(tmp_path, web)
    assert (first.source, first.checksum, first.path.read_bytes()) == (ARCHIVE.url, f"sha256:{DIGEST}", CONTENT)
    assert first.path == tmp_path / "cache/loki/3.7.6/loki-linux-amd64.zip"
    second = find(tmp_path, web)
    assert (second.source, second.path) == ("cache", first.path)
    assert len(web.asked) == 2


def test_a_mirror_is_asked_in_place_of_the_origin(tmp_path: Path) -> None:
    web = Web().serve("http://mirror.example/loki/3.7.6")
    assert find(tmp_path, web, mirror="http://mirror.example/").source == "http://mirror.example/loki/3.7.6"
    assert not [address for address in web.asked if "mirror.example" not in address]


def test_a_filled_cache_serves_as_a_mirror(tmp_path: Path) -> None:
    find(tmp_path, Web().serve(ARCHIVE.url))
    found = upstream.find(ARCHIVE, cache=str(tmp_path / "other"), mirror=str(tmp_path / "cache"), opener=Web())
    assert found.path.read_bytes() == CONTENT
    assert found.source == str(tmp_path / "cache/loki/3.7.6")


def test_nobody_has_it(tmp_path: Path) -> None:
    with pytest.raises(upstream.Unavailable) as caught:
        find(tmp_path, Web())
    assert str(caught.value) == (
        f"loki-linux-amd64.zip of loki 3.7.6 is neither in the cache {tmp_path}/cache/loki/3.7.6 nor at its origin "
        f"{ARCHIVE.url} (HTTP 404)"
    )
    with pytest.raises(upstream.Unavailable, match=r"nor at the mirror .* \(No such file or directory\)"):
        find(tmp_path, Web(), mirror=str(tmp_path / "nowhere"))


def test_a_wrong_archive_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"has checksum sha256:.*, not sha256:{DIGEST}; fetch it again"):
        find(tmp_path, Web().serve(ARCHIVE.url, content=b"something else"))
    assert find(tmp_path, Web().serve(ARCHIVE.url)).path.read_bytes() == CONTENT


def test_a_wrong_archive_in_the_cache_is_refused(tmp_path: Path) -> None:
    found = find(tmp_path, Web().serve(ARCHIVE.url))
    found.path.write_bytes(b"damaged")
    with pytest.raises(Refused, match=r"from the cache .* has checksum"):
        find(tmp_path, Web().serve(ARCHIVE.url))


def test_a_pinned_checksum_counts_more_than_the_list(tmp_path: Path) -> None:
    pinned = f"sha256:{'f' * 64}"
    with pytest.raises(Refused, match=rf"not {pinned}"):
        find(tmp_path, Web().serve(ARCHIVE.url), pinned=pinned)
    web = Web().serve(ARCHIVE.url, checksums=None)
    assert find(tmp_path, web, pinned=f"sha256:{DIGEST}").checksum == f"sha256:{DIGEST}"


def test_without_any_checksum_nothing_is_believed(tmp_path: Path) -> None:
    web = Web().serve(ARCHIVE.url, checksums=f"{DIGEST}  another.zip\n".encode())
    with pytest.raises(Refused, match=r"has no checksum to be held against; put the release's SHA256SUMS beside it"):
        find(tmp_path, web)


def test_hosts_side_by_side_fetch_it_once(tmp_path: Path) -> None:
    web = Web().serve(ARCHIVE.url)
    threads = [threading.Thread(target=find, args=(tmp_path, web)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(web.asked) == 2
