"""Settings: from the environment only, checked before anything starts. Pure."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one sentence."""


@dataclass(frozen=True)
class Settings:
    """All that the process can be told."""

    host: str
    port: int
    database_rw: str
    database_ro: str
    otlp_endpoint: str | None
    node: str
    pool_size: int
    price_workers: int
    price_queue: int
    drain_timeout: float
    shutdown_timeout: float
    log_level: str


def _number(env: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name} is {text!r} but must be a number from {low:g} to {high:g}.")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = _number(env, name, default, low, high)
    if value != int(value):
        raise SettingsError(f"{name} is {env[name]!r} but must be a whole number from {low} to {high}.")
    return int(value)


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise SettingsError(f"MES_LISTEN is {text!r} but must be address:port, such as 0.0.0.0:8080.")
    return host.strip("[]"), int(port)


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Read and check the environment."""
    env = os.environ if env is None else env
    host, port = _listen(env.get("MES_LISTEN") or "0.0.0.0:8080")
    database_rw = env.get("MES_DATABASE_RW", "").strip()
    if not database_rw:
        raise SettingsError(
            "MES_DATABASE_RW is not set but must be a libpq connection string, such as "
            "'host=db-a,db-b port=5000,5000 dbname=mes user=mes password=...'."
        )
    otlp_endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if otlp_endpoint and not otlp_endpoint.startswith(("http://", "https://")):
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is {otlp_endpoint!r} but must be an http:// or https:// address."
        )
    log_level = (env.get("MES_LOG_LEVEL") or "info").lower()
    if log_level not in ("debug", "info", "warning", "error"):
        raise SettingsError(f"MES_LOG_LEVEL is {log_level!r} but must be debug, info, warning or error.")
    return Settings(
        host=host,
        port=port,
        database_rw=database_rw,
        database_ro=env.get("MES_DATABASE_RO", "").strip() or database_rw,
        otlp_endpoint=otlp_endpoint or None,
        node=env.get("MES_NODE") or socket.gethostname(),
        pool_size=_whole(env, "MES_POOL_SIZE", 8, 2, 200),
        price_workers=_whole(env, "MES_PRICE_WORKERS", 1, 1, 64),
        price_queue=_whole(env, "MES_PRICE_QUEUE", 16, 1, 10_000),
        drain_timeout=_number(env, "MES_DRAIN_TIMEOUT", 5.0, 0.0, 300.0),
        shutdown_timeout=_number(env, "MES_SHUTDOWN_TIMEOUT", 30.0, 3.0, 7200.0),
        log_level=log_level,
    )
