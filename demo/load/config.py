"""What a run of the load client can be told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

RETRY_MODES = ("none", "safe")


class ConfigError(Exception):
    """An option is wrong; the message is one sentence."""


@dataclass(frozen=True)
class LoadConfig:
    """One run. Exactly one of `orders`, `count` and `duration` says when it ends.

    rate: requests per second, orders and reads together.
    orders: end after so many orders; reads come on top. count: end after so many requests. duration: seconds.
    reads: share of requests that are GETs, half lists and half single orders.
    timeout: seconds for one attempt. deadline: seconds for all attempts, counted from the scheduled start.
    """

    targets: tuple[str, ...]
    rate: float = 50.0
    orders: int | None = None
    count: int | None = None
    duration: float | None = None
    reads: float = 0.0
    retry: str = "none"
    timeout: float = 5.0
    deadline: float = 60.0
    max_in_flight: int = 1000
    polygons: int = 1000
    host: str | None = None
    ca_file: str | None = None
    ledger: str | None = None
    requests: str | None = None
    report: str | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not self.targets:
            raise ConfigError("No target is given; name at least one base URL, such as http://10.203.0.11.")
        for target in self.targets:
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ConfigError(f"Target {target!r} is no base URL; give one such as http://10.203.0.11:8080.")
        if sum(limit is not None for limit in (self.orders, self.count, self.duration)) != 1:
            raise ConfigError("Give exactly one of orders, count and duration, so that the run ends.")
        if not 0 < self.rate <= 10_000:
            raise ConfigError(f"Rate {self.rate:g} must be above 0 and at most 10000 requests per second.")
        if not 0 <= self.reads <= 1:
            raise ConfigError(f"Reads {self.reads:g} must be a share from 0 to 1.")
        if self.orders is not None and self.reads == 1:
            raise ConfigError("Reads of 1 leaves no orders to count; use count or duration.")
        if self.retry not in RETRY_MODES:
            raise ConfigError(f"Retry {self.retry!r} is not known; known are {' and '.join(RETRY_MODES)}.")
        for name in ("orders", "count", "duration", "timeout", "deadline", "max_in_flight", "polygons"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"Option {name} is {value:g} but must be above 0.")

    def to_arguments(self) -> list[str]:
        """Return the command line that makes this run."""
        arguments = [f"--target={target}" for target in self.targets]
        for name, value in vars(self).items():
            if name != "targets" and value is not None:
                arguments.append(f"--{name.replace('_', '-')}={value}")
        return arguments
