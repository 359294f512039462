"""The configuration of the demonstration: the shipped one, moved to where the simulator and the broker listen."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

LINE = "reactor-skid"
KEPT_ENVIRONMENT = "PILOT_GATEWAY__SINKS__INFLUXDB__"
"""The only settings that the environment adds: a real InfluxDB to write to."""


def write_config(
    shipped: Path, folder: Path, addresses: Mapping[str, str], mqtt: Mapping[str, Any], api_port: int
) -> Path:
    """Write ``folder/config`` and return its gateway.yaml. ``addresses``: link id → where its simulator listens."""
    config = folder / "config"
    shutil.copytree(shipped / "templates", config / "templates", dirs_exist_ok=True)
    line = yaml.safe_load((shipped / "lines" / f"{LINE}.yaml").read_text(encoding="utf-8"))
    for link in line["links"]:
        _move(link, addresses[link["id"]])
    gateway = {
        "gateway": "demo",
        "site": yaml.safe_load((shipped / "gateway.yaml").read_text(encoding="utf-8"))["site"],
        "journal": {"directory": str(folder / "journal")},
        "sinks": {"mqtt": dict(mqtt)},
        "api": {"host": "127.0.0.1", "port": api_port},
        "log": {"level": "info"},
    }
    (config / "lines").mkdir(exist_ok=True)
    _write(config / "lines" / f"{LINE}.yaml", line)
    _write(config / "gateway.yaml", gateway)
    return config / "gateway.yaml"


def _move(link: dict[str, Any], address: str) -> None:
    parts = urlsplit(address)
    if "endpoint" in link:
        link["endpoint"] = address
    else:
        link["host"], link["port"] = parts.hostname, parts.port


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False), encoding="utf-8")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the children: whatever else was set for a real gateway is not meant for this one."""
    return {
        key: value
        for key, value in environ.items()
        if not key.upper().startswith("PILOT_GATEWAY__") or key.upper().startswith(KEPT_ENVIRONMENT)
    }
