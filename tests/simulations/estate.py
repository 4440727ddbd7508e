# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate of a simulation: hosts with their processes and releases, load balancers with their servers, a database.

It only knows what can be done to it and how it then behaves in time; who does it, and what may go wrong on the way, is
the business of ``worlds.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ansible_collections.mesops.platform.plugins.module_utils._release.history import previous_of, pushed
from simulations.clock import Clock
from simulations.story import Release, Story, Wishes, service_name

FLAP = 7.0
"""How long a process whose readiness flaps is ready, and how long it is not."""
HANGS = 400.0
"""How long a request waits that is never answered: as long as the load balancer lets it."""
READY_AFTER = 1.0
OLDEST = "1"


@dataclass
class App:
    """A service on one host."""

    current: str | None = OLDEST
    history: tuple[str, ...] = (OLDEST,)
    running: str | None = OLDEST
    started_at: float = -1000.0
    installed: set[str] = field(default_factory=lambda: {OLDEST})

    @property
    def previous(self) -> str | None:
        """The release that was active before the current one."""
        return previous_of(self.history, self.current)


@dataclass
class Host:
    """A host, with all the services on it."""

    apps: dict[str, App]
    alive: bool = True
    reachable: bool = True
    """Whether a controller reaches it."""
    full: bool = False
    """Whether its disk is full."""
    fence: dict[str, int] = field(default_factory=dict)
    """By service: the highest number of a lock that it has seen."""

    @property
    def answers(self) -> bool:
        """Whether modules can be run on it."""
        return self.alive and self.reachable


@dataclass
class Server:
    """A service of one host at one load balancer."""

    admin: str = "ready"
    percent: float = 100
    busy_until: float = 0.0
    """When the last of its sessions ends that had begun before it was taken out."""
    by_person: bool = False
    """Whether a person has taken it out, who then has not put it back."""
    weighed: bool = False
    """Whether a person has given it a part of its weight, and no run its share since then."""
    person_at: float = 0.0
    """When a person last changed it."""


@dataclass
class Balancer:
    """A load balancer."""

    servers: dict[tuple[str, str], Server]
    """By service and host."""
    alive: bool = True
    reachable: bool = True
    cut: set[str] = field(default_factory=set)
    """Hosts that it cannot reach."""
    fence: dict[str, int] = field(default_factory=dict)
    forgotten: set[tuple[str, str]] = field(default_factory=set)
    """Services and hosts that it let in again when it forgot that they were taken out."""

    @property
    def answers(self) -> bool:
        """Whether modules can be run on it."""
        return self.alive and self.reachable

    def takes_whole(self, service: str, host: str) -> bool:
        """Whether nobody has taken it out here, or given it a part of its weight."""
        server = self.servers[service, host]
        return server.admin == "ready" and server.percent >= 100

    def forget(self) -> None:
        """Start anew without the file that keeps flags and weights: everybody is in, with the whole weight."""
        self.forgotten |= {key for key, server in self.servers.items() if server.admin != "ready"}
        for server in self.servers.values():
            server.admin, server.percent, server.by_person, server.weighed = "ready", 100, False, False


class Estate:
    """All of it, at the moment of its clock."""

    def __init__(self, story: Story, clock: Clock) -> None:
        self._clock = clock
        self.wishes: dict[str, Wishes] = {service_name(number): one for number, one in enumerate(story.services)}
        names = [f"app-{number + 1}" for number in range(story.hosts)]
        self.hosts = {name: Host({service: App() for service in self.wishes}) for name in names}
        self.balancers = {
            f"lb-{number + 1}": Balancer({(service, name): Server() for service in self.wishes for name in names})
            for number in range(story.balancers)
        }
        self.releases = {one.version: one for one in story.releases}
        self.migrated: dict[str, dict[tuple[str, str], float]] = {service: {} for service in self.wishes}
        """By service: when each step of each version has ended, or will; infinity is never."""
        self.prometheus = True
        self.healed = False

    @property
    def now(self) -> float:
        """The time."""
        return self._clock.time

    def release(self, version: str | None) -> Release:
        """A version's release; one that nothing is said about is good."""
        name = str(version)
        if name not in self.releases:
            self.releases[name] = Release(name)
        return self.releases[name]

    # --------------------------------------------------------------------------------------------------- how it behaves

    def fault(self, service: str, host: str) -> str:
        """What the process does wrong now."""
        app = self.hosts[host].apps[service]
        release = self.release(app.running)
        if not release.fault:
            return ""
        begun = self.now - app.started_at >= release.after
        meant = release.only is None or host == f"app-{release.only + 1}"
        return release.fault if begun and meant else ""

    def ready(self, service: str, host: str) -> bool:
        """Whether its readiness path answers well."""
        app = self.hosts[host].apps[service]
        if not self.hosts[host].alive or app.running is None or self.now - app.started_at < READY_AFTER:
            return False
        fault = self.fault(service, host)
        if fault == "flaps":
            return (self.now - app.started_at) % (2 * FLAP) < FLAP
        return fault not in ("never-starts", "never-ready", "dies")

    def up(self, service: str, host: str, balancer: str) -> bool:
        """Whether a load balancer's checks see it."""
        return host not in self.balancers[balancer].cut and self.ready(service, host)

    def serving(self, service: str, host: str, balancer: str) -> bool:
        """Whether it takes traffic at a load balancer."""
        one = self.balancers[balancer]
        return one.alive and one.servers[service, host].admin == "ready" and self.up(service, host, balancer)

    def well(self, service: str, host: str) -> bool:
        """Whether its process does what it should, and goes on doing it."""
        release = self.release(self.hosts[host].apps[service].running)
        meant = release.only is None or host == f"app-{release.only + 1}"
        return self.ready(service, host) and not (release.fault and meant)

    def available(self, service: str, balancer: str) -> int:
        """How many servers take traffic at a load balancer."""
        return sum(self.serving(service, host, balancer) for host in self.hosts)

    def whole(self, service: str, host: str) -> bool:
        """Whether it takes its whole share everywhere."""
        return all(
            self.serving(service, host, name) and one.servers[service, host].percent >= 100
            for name, one in self.balancers.items()
            if one.alive
        )

    # ----------------------------------------------------------------------------------------------- what is done to it

    def activate(self, service: str, host: str, version: str) -> None:
        """Swap the link and start the process anew, as the module app_release does."""
        app = self.hosts[host].apps[service]
        if app.current != version:
            app.history = pushed(app.history, app.current, version)
        elif app.running == version and self.ready(service, host):
            return
        app.current = version
        self.start(service, host)

    def start(self, service: str, host: str) -> None:
        """Start the process of the current release."""
        app = self.hosts[host].apps[service]
        app.running = app.current
        app.started_at = self.now

    def take_out(self, service: str, host: str, balancer: str, admin: str = "drain") -> None:
        """Send it no new sessions."""
        server = self.balancers[balancer].servers[service, host]
        self.balancers[balancer].forgotten.discard((service, host))
        if server.admin == "ready":
            hangs = self.fault(service, host) == "hangs"
            longest = HANGS if hangs else 1.0 if self.healed else self.wishes[service].session
            server.busy_until = self.now + longest
        server.admin = admin

    def sessions(self, service: str, host: str, balancer: str) -> int:
        """How many sessions it has left."""
        return int(self.balancers[balancer].servers[service, host].busy_until > self.now)

    def heal(self) -> None:
        """Everything works again: hosts and load balancers are up, and processes run as systemd would keep them."""
        for name, host in self.hosts.items():
            if not host.alive:
                for service in host.apps:
                    self.start(service, name)
            host.alive, host.reachable, host.full = True, True, False
        for balancer in self.balancers.values():
            balancer.alive = balancer.reachable = True
            balancer.cut.clear()
        self.healed = True
        self.prometheus = True
