"""Files that say who the gateway is: whatever is wrong with them is a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.opcua import pki
from drivers.opcua.failures import Peer
from drivers.opcua.options import OpcUa
from drivers.opcua.users import user_of
from gateway.core.errors import Refused
from tests.support.opcua_lines import PLANT, make_link

PEER = Peer("plc", "opc.tcp://plc")
DEVICES = {"reactor": [{"name": "pressure", "node": f"nsu={PLANT};s=Pressure"}]}
PROTECTED = {"security": {"policy": "Basic256Sha256"}}


def options(**more: Any) -> OpcUa:
    made = make_link(4840, DEVICES, **more).options
    assert isinstance(made, OpcUa)
    return made


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key, of a user."""
    pki.own(tmp_path, "user")
    return tmp_path / "own" / "user.der", tmp_path / "own" / "user.key"


def test_a_user_with_a_certificate(files: tuple[Path, Path]) -> None:
    certificate, key = map(str, files)
    user = user_of(PEER, options(user_certificate_file=certificate, user_key_file=key, **PROTECTED))
    assert user.certificate.public_key() == user.key.public_key()
    assert "RSAPrivateKey" not in repr(user)


def test_what_is_wrong_with_the_files_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    other = tmp_path / "other"
    pki.own(other, "user")
    (tmp_path / "nonsense").write_bytes(b"-----BEGIN nonsense")
    for wrong_certificate, wrong_key, says in (
        (tmp_path / "missing", key, "cannot read user_certificate_file .*missing"),
        (tmp_path / "nonsense", key, "nonsense is no certificate"),
        (key, key, "user.key is no certificate"),
        (certificate, tmp_path / "missing", "cannot read user_key_file .*missing"),
        (certificate, tmp_path / "nonsense", "nonsense is no private key"),
        (certificate, certificate, "user.der is no private key"),
        (certificate, other / "own" / "user.key", "is not the RSA key of the certificate in .*user.der"),
    ):
        link = options(user_certificate_file=str(wrong_certificate), user_key_file=str(wrong_key), **PROTECTED)
        with pytest.raises(Refused, match=says):
            user_of(PEER, link)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"user_certificate_file": "a", **PROTECTED}, "belong together"),
        ({"user_key_file": "a", **PROTECTED}, "belong together"),
        ({"user_certificate_file": "a", "user_key_file": "b", "username": "c", **PROTECTED}, "either username or"),
        ({"user_certificate_file": "a", "user_key_file": "b"}, "needs a security policy"),
        ({"also": ("opc.tcp://127.0.0.1:4840",)}, "each once"),
        ({"also": ("opc.tcp://a", "opc.tcp://a")}, "each once"),
        ({"also": ("opc.tcp://a:99999",)}, "the port at most 65535"),
        ({"also": ("opc.tcp://a",), "security": {"policy": "None", "server_name": "x"}}, "is for one server"),
    ],
)
def test_options_that_contradict_each_other(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        options(**more)
