"""What this build is: the release's own files, or 'development' when it runs from a checkout."""

from __future__ import annotations

import contextlib
import json
import platform
from pathlib import Path


def describe(node: str) -> dict[str, str]:
    """Return version, commit, build time, interpreter and node."""
    root = Path(__file__).resolve().parent.parent
    built: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        built = json.loads((root / "release.json").read_text(encoding="utf-8"))
    return {
        "service": "mes",
        "version": built.get("version", "development"),
        "commit": built.get("commit", "unknown"),
        "built": built.get("built", "unknown"),
        "python": platform.python_version(),
        "node": node,
    }
