"""``pilot-gateway certs`` from the refusal of a server to its trust and back."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua import pki
from gateway.cli import main
from gateway.core.errors import Refused
from tests.support.opcua_certificates import Authority, ServerCertificate
from tests.unit.opcua.test_pki import NOW, URI, Made


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    run("list", "--pki", str(folder), "--format", "json")
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["certs", *arguments])
    return int(ended.value.code or 0)


def connect(folder: Path) -> None:
    der = Made().certificate().public_bytes(Encoding.DER)
    pki.check_server(folder, der, host="plc.local", application_uri=URI, now=NOW)


def test_the_command_in_the_refusal_is_the_one_that_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a folder"
    with pytest.raises(Refused) as refused:
        connect(folder)
    command = re.search(r"pilot-gateway certs (trust .*)$", str(refused.value))
    assert command, refused.value
    assert run(*shlex.split(command[1])) == 0
    assert "PLC" in capsys.readouterr().out
    connect(folder)
    (only,) = listed(folder, capsys)
    assert (only["place"], only["name"], only["application"], only["hosts"]) == (
        "trusted",
        "PLC",
        URI,
        ["plc.local", "10.0.0.5"],
    )

    assert run("reject", only["thumbprint"][:6].lower(), "--pki", str(folder)) == 0
    with pytest.raises(Refused, match="not trusted yet"):
        connect(folder)
    capsys.readouterr()
    assert [each["place"] for each in listed(folder, capsys)] == ["rejected"]


def test_a_new_own_certificate_keeps_the_former_one_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = pki.own(tmp_path)
    assert run("renew", "--pki", str(tmp_path)) == 0
    after = pki.own(tmp_path)
    assert after.certificate != before.certificate
    assert after.uri == before.uri
    assert (tmp_path / "own" / "pilot-gateway.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "own" / "pilot-gateway.der.old").read_bytes() == before.certificate
    capsys.readouterr()
    (own,) = listed(tmp_path, capsys)
    assert own["place"] == "own"
    assert run("trust", own["thumbprint"], "--pki", str(tmp_path)) == 1
    assert "own certificate" in capsys.readouterr().err
    assert run("show", own["thumbprint"], "--pki", str(tmp_path)) == 0
    assert json.loads(capsys.readouterr().out) == own


def test_wrong_use_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--pki", str(tmp_path / "nowhere")) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert run("trust", "ABCD", "--pki", str(tmp_path)) == 1
    assert "no certificate has a thumbprint that starts with ABCD" in capsys.readouterr().err


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused):
        connect(tmp_path)
    assert run("list", "--pki", str(tmp_path)) == 0
    assert re.search(r"refused.*[0-9A-F]{40}.*PLC.*2026-06-02.*plc\.local", capsys.readouterr().out)


def test_authorities_and_their_lists_come_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, plant = tmp_path / "pki", Authority("PlantCA")
    revoked = ServerCertificate(by=plant)
    (tmp_path / "ca.pem").write_bytes(plant.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "ca.crl").write_bytes(plant.revoking(revoked.certificate).public_bytes(Encoding.DER))
    (tmp_path / "note.txt").write_text("nothing of the kind")
    for name in ("ca.pem", "ca.crl"):
        assert run("trust", str(tmp_path / name), "--pki", str(folder)) == 0
    assert run("trust", str(tmp_path / "note.txt"), "--pki", str(folder)) == 1
    assert "neither a certificate nor a revocation list" in capsys.readouterr().err
    authority, listing = listed(folder, capsys)
    assert (authority["place"], authority["name"], authority["authority"]) == ("trusted", "PlantCA", True)
    assert (listing["place"], listing["name"], listing["revoked"], listing["expired"]) == (
        "revoked",
        "PlantCA",
        1,
        False,
    )
    assert run("list", "--pki", str(folder)) == 0
    table = capsys.readouterr().out
    assert re.search(r"trusted.*PlantCA.*every server that it signs", table)
    assert re.search(r"revoked.*PlantCA.*1 certificates", table)
