# Copyright: (c) 2026, The mesops.platform authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that come as upstream archives: versions, addresses and file names, in this one place. No Ansible.

Sources, read in November 2026: the release pages of each project and its packaging files. A version here is the one
that the roles' templates are written for; roles let it be replaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""What the kernel calls a machine, and what these projects call it in file names."""

_VERSION = re.compile(r"[0-9]+(\.[0-9]+){1,3}([.+~-][0-9A-Za-z.+~-]+)?")


class UnknownProgram(Exception):
    """There is no archive for what was asked; the text is one sentence for the user."""


@dataclass(frozen=True)
class Program:
    """One upstream archive; ``{version}`` and ``{arch}`` are filled in."""

    name: str
    version: str
    url: str
    """The directory at the origin that holds the archive and the checksums."""
    file: str
    checksums: str
    """The file beside it that has the sha256 of the archive, among others or alone."""
    members: tuple[tuple[str, str], ...]
    """Command names, and the paths in the archive of the executables behind them."""
    whole: bool = False
    """Whether the whole tree is kept and not only the executables; paths begin below its only top directory then."""


@dataclass(frozen=True)
class Archive:
    """One archive of one version for one kind of machine."""

    name: str
    version: str
    url: str
    file: str
    checksums: str
    members: dict[str, str]
    whole: bool = False

    @property
    def place(self) -> str:
        """Where it lies in a mirror or a cache: some upstream file names carry no version."""
        return f"{self.name}/{self.version}"


_GITHUB = "https://github.com/{project}/releases/download/v{{version}}"
_PROMETHEUS = "{name}-{{version}}.linux-{{arch}}"


def _prometheus(name: str, version: str, project: str, *commands: str) -> Program:
    """A program that is released as the Prometheus project releases its own."""
    stem = _PROMETHEUS.format(name=name)
    members = tuple((command, f"{stem}/{command}") for command in commands)
    return Program(name, version, _GITHUB.format(project=project), f"{stem}.tar.gz", "sha256sums.txt", members)


def _grafana(name: str, version: str, file: str, member: str) -> Program:
    """A program that is released as Grafana Labs releases Loki."""
    return Program(name, version, _GITHUB.format(project=f"grafana/{name}"), file, "SHA256SUMS", ((name, member),))


PROGRAMS = {
    program.name: program
    for program in (
        _prometheus("prometheus", "3.13.2", "prometheus/prometheus", "prometheus", "promtool"),
        _prometheus("alertmanager", "0.34.0", "prometheus/alertmanager", "alertmanager", "amtool"),
        _prometheus("node_exporter", "1.12.1", "prometheus/node_exporter", "node_exporter"),
        _prometheus("postgres_exporter", "0.20.1", "prometheus-community/postgres_exporter", "postgres_exporter"),
        _prometheus("blackbox_exporter", "0.28.0", "prometheus/blackbox_exporter", "blackbox_exporter"),
        _grafana("loki", "3.7.6", "loki-linux-{arch}.zip", "loki-linux-{arch}"),
        _grafana("tempo", "3.0.3", "tempo_{version}_linux_{arch}.tar.gz", "tempo"),
        _grafana("alloy", "1.18.1", "alloy-linux-{arch}.zip", "alloy-linux-{arch}"),
        # Grafana's releases are not on GitHub; each archive has a checksum file of its own.
        Program(
            "grafana",
            "13.2.3",
            "https://dl.grafana.com/oss/release",
            "grafana-{version}.linux-{arch}.tar.gz",
            "grafana-{version}.linux-{arch}.tar.gz.sha256",
            (("grafana", "bin/grafana"),),
            whole=True,
        ),
    )
}


def archive(name: str, version: str = "", machine: str = "x86_64") -> Archive:
    """The archive of a program in a version (empty: the one of this collection) for a machine as ``uname -m`` says."""
    program = PROGRAMS.get(name)
    if program is None:
        raise UnknownProgram(f"There is no program {name!r}; known are {', '.join(sorted(PROGRAMS))}.")
    arch = ARCHITECTURES.get(machine)
    if arch is None:
        raise UnknownProgram(
            f"{name} has no archive for the architecture {machine!r}; known are {', '.join(sorted(ARCHITECTURES))}."
        )
    version = version or program.version
    if not _VERSION.fullmatch(version):
        raise UnknownProgram(
            f"Version {version!r} of {name} is no release's name; give one such as {program.version}, without a v."
        )
    words = {"version": version, "arch": arch}
    return Archive(
        name=name,
        version=version,
        url=program.url.format(**words),
        file=program.file.format(**words),
        checksums=program.checksums.format(**words),
        whole=program.whole,
        members={command: path.format(**words) for command, path in program.members},
    )
