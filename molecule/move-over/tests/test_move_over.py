"""An estate of one host, moved over as the tutorial tells, while orders keep coming: none is lost, none is doubled."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import estate
import package
import pytest
import typed

from demo import orders

TUTORIAL = estate.ROOT / "docs/tutorials/move-over.md"
HOSTS = {"old-1": "move-old", "pg-1": "move-pg-1"}
OLD, EDGE = "http://198.51.100.231:8080", "http://198.51.100.211"
NEW_DATABASE = "host=198.51.100.211 port=5000 dbname=mes user=mes password=new-password"
UNIT = """[Unit]
Description=The service, as somebody set it up years ago
After=postgresql.service
[Service]
User=nobody
Environment=MES_LISTEN=0.0.0.0:8080
Environment="MES_DATABASE_RW=host=/var/run/postgresql dbname=mes user=mes password=old-password"
ExecStart=/srv/mes/bin/mes serve
Restart=always
[Install]
WantedBy=multi-user.target
"""
BY_HAND = f"""set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null && apt-get install -qy --no-install-recommends postgresql python3 >/dev/null
cd /
sed -i "s/^#listen_addresses.*/listen_addresses = '*'/" /etc/postgresql/17/main/postgresql.conf
sed -i "s/^local *all *all .*/local all all scram-sha-256/" /etc/postgresql/17/main/pg_hba.conf
systemctl restart postgresql@17-main
runuser -u postgres -- psql -qc "CREATE ROLE mes LOGIN PASSWORD 'old-password'"
runuser -u postgres -- createdb --owner mes mes
mkdir -p /srv/mes && tar -C /srv/mes -xzf /srv/mes.tar.gz
MES_DATABASE_RW="host=/var/run/postgresql dbname=mes user=mes password=old-password" /srv/mes/bin/mes migrate
cat > /etc/systemd/system/mes.service <<'END'
{UNIT}END
systemctl daemon-reload && systemctl enable --now mes
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the person works: with the release that runs today, and the collection."""
    found = tmp_path_factory.mktemp("work")
    package.build(found)
    note = json.loads(estate.build_release().read_text(encoding="utf-8"))
    archive = found / "dist/mes-1.0.0.tar.gz"
    archive.parent.mkdir()
    shutil.copy(note["artifact"], archive)
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{checksum}  {archive.name}\n", encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def shell(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[typed.Shell]:
    """A person's shell, with the collection installed as the other tutorial tells."""
    environment = typed.stranger(tmp_path_factory.mktemp("home"), estate.BUILD / "move-over-keys", estate.ROOT)
    first = next(block for block in typed.blocks(TUTORIAL.with_name("first-service.md")) if block.language == "console")
    with typed.Shell(folder, environment) as opened:
        for command in first.commands():
            status, output = opened.type(command.text)
            assert status == 0, output
        yield opened


@pytest.fixture(scope="module", autouse=True)
def by_hand(folder: Path) -> None:
    """The host that does everything."""
    estate.docker("cp", str(folder / "dist/mes-1.0.0.tar.gz"), f"{HOSTS['old-1']}:/srv/mes.tar.gz")
    estate.on(HOSTS["old-1"], BY_HAND)
    estate.wait_for(lambda: estate.get(f"{OLD}/readyz")[0] == 200, timeout=60, what="the old service")


def test_no_order_is_lost_on_the_way(folder: Path, shell: typed.Shell) -> None:
    def run(command: typed.Command) -> tuple[int, str]:
        if command.host is None:
            return shell.type(command.text)
        return 0, estate.on(HOSTS[command.host], command.text)

    # However long the database's move takes on this machine, the clients wait for it, all of them.
    patience = {"deadline": 600, "max_in_flight": 20_000}
    options = {"rate": 20, "reads": 0.3, "duration": 1800, "retry": "safe", **patience}
    steps = typed.follow(TUTORIAL, folder, estate.BUILD / "move-over-transcript.txt", run)
    with orders.load_on((OLD,), **options) as before:
        before.wait_for_acknowledged(50)
        for command in steps:
            if EDGE in command.text:
                break
        before.stop(timeout=650)
    # From here on the service's name points to the balancer.
    with orders.load_on((EDGE,), **options) as after:
        after.wait_for_acknowledged(50)
        assert len(list(steps)) > 10
        after.stop(timeout=650)
    for load in (before, after):
        verdict = orders.audit(load, database=NEW_DATABASE)
        print(load.report.table(), verdict.table(), sep="\n")
        assert verdict.clean, verdict.table()
        assert verdict.exactly_once == load.report.acknowledged
        assert load.report.failed == 0, load.report.table()
