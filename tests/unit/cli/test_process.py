"""Telling systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.cli.process import notify_systemd


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if abstract else name)
        systemd.settimeout(5)
        notify_systemd("READY=1", {"NOTIFY_SOCKET": f"@{name}" if abstract else name})
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens() -> None:
    notify_systemd("READY=1", {})


def test_a_deaf_systemd_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notify_systemd("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert "could not be told READY=1" in caplog.text
