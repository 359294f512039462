"""Secrets never come out in messages or dumps; files that hold them are looked at before anything starts."""

import os
from pathlib import Path

import pytest

from gateway.core.errors import ConfigError
from gateway.settings import load_line_file
from tests.support.config import Folder

SECRET = "hunter2"  # noqa: S105

MISTAKEN = [
    "sinks: {mqtt: {host: h, username: u, password: hunter2, port: x}}",
    "sinks: {mqtt: {host: h, pasword: hunter2}}",
    "sinks: {mqtt: {host: h, password: [hunter2]}}",
    "sinks: {mqtt: {host: h, password: {a: hunter2}}}",
    "sinks: {mqtt: {host: h, password: hunter2, password: hunter2}}",
    "sinks: {mqtt: {host: h, password: hunter2}}",
    "sinks: {mqtt: hunter2}",
    "sinks: {influxdb: {url: 'http://u:hunter2@h:8086', bucket: b}}",
    "sinks: {influxdb: {url: 'htp://u:hunter2@h:8086', bucket: b}}",
    "sinks: {influxdb: {url: 'http://h', token: hunter2, token_file: x, bucket: b}}",
    "api: {token: hunter2, token_file: nix}",
    "api: {token: hunter2, prt: 5}",
    "api: hunter2",
    "api: {token: !x hunter2}",
    "api: {token: *hunter}",
    'api: {token: "hunter2}',
]


@pytest.mark.parametrize("text", MISTAKEN)
def test_no_message_holds_a_secret(folder: Folder, text: str) -> None:
    folder.write("gateway.yaml", f"gateway: gw1\nsite: wuxi\n{text}\n")
    mistakes = folder.mistakes()
    assert mistakes
    assert SECRET not in "\n".join(mistakes)


def test_a_secret_that_is_a_number_is_not_shown_either(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {token: 271828}\n")
    assert folder.mistakes() == ["gateway.yaml:3: api.token: must be text; put it in quotes"]


@pytest.mark.parametrize(
    "name", ["API__TOKEN__X", "SINKS__MQTT__PASSWORD", "SINKS__MQTTT__PASSWORD", "API", "SINKS__MQTT"]
)
def test_no_message_holds_a_secret_of_the_environment(folder: Folder, name: str) -> None:
    mistakes = folder.mistakes({f"PILOT_GATEWAY__{name}": SECRET})
    assert mistakes
    assert SECRET not in "\n".join(mistakes)


def test_settings_do_not_show_their_secrets(folder: Folder) -> None:
    folder.write(
        "gateway.yaml",
        "gateway: gw1\nsite: wuxi\napi: {token: hunter2}\nsinks:\n"
        "  mqtt: {host: h, username: u, password: hunter2}\n"
        "  influxdb: {url: 'http://h', bucket: b, token: hunter2}\n",
    )
    folder.device(
        "{id: d, tags: [{name: a, node: i=1}]}",
        "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}, username: u, password: hunter2",
    )
    settings = folder.load()
    assert SECRET not in repr(settings) + str(settings)
    assert settings.api.token is not None
    assert settings.api.token.get_secret_value() == SECRET


def test_secret_files_are_found_from_the_folder_of_the_file_that_names_them(folder: Folder) -> None:
    folder.write("secrets/token", "t0ken\n")
    folder.write("secrets/password", "pass\n")
    folder.write(
        "gateway.yaml",
        "gateway: gw1\nsite: wuxi\napi: {token_file: secrets/token}\nsinks:\n"
        "  influxdb: {url: 'http://h', bucket: b, token_file: secrets/token}\n",
    )
    folder.device(
        "{id: d, tags: [{name: a, node: i=1}]}",
        "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}, username: u, "
        "password_file: ../secrets/password",
    )
    settings = folder.load()
    token, password = str(folder.path / "secrets/token"), str(folder.path / "lines/../secrets/password")
    assert settings.api.token_file == token
    assert settings.sinks["influxdb"].token_file == token  # type: ignore[union-attr]
    assert settings.lines[0].links[0].options.password_file == password  # type: ignore[attr-defined]
    assert load_line_file(folder.path / "lines/pl1.yaml").links == settings.lines[0].links


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path} does not exist"),
        (b" \n", "{path} is empty"),
        (b"x" * 70_000, "{path} is too large for a secret"),
    ],
)
def test_a_secret_file_that_cannot_be_right(folder: Folder, content: bytes | None, message: str) -> None:
    if content is not None:
        folder.write("token", content)
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {token_file: token}\n")
    assert folder.mistakes() == [f"gateway.yaml:3: api.token_file: {message.format(path='token')}"]


def test_a_folder_is_no_secret_file(folder: Folder) -> None:
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {token_file: lines}\n")
    assert folder.mistakes() == ["gateway.yaml:3: api.token_file: lines cannot be read: Is a directory"]


def test_a_secret_file_that_may_not_be_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.write("token", "t")
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {token_file: token}\n")
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything: let the system say what it says to others
        opened = Path.open

        def refuse(self: Path, mode: str = "r") -> object:
            if self == path:
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, mode)

        monkeypatch.setattr(Path, "open", refuse)
    assert folder.mistakes() == [
        "gateway.yaml:3: api.token_file: token may not be read by this user; give it read access (chmod, chown)"
    ]


def test_secret_and_secret_file_together(folder: Folder) -> None:
    folder.write("token", "t")
    folder.write("gateway.yaml", "gateway: gw1\nsite: wuxi\napi: {token: a, token_file: token}\n")
    assert folder.mistakes() == ["gateway.yaml:3: api.token_file: give token or token_file, not both"]


def test_who_plays_a_line_needs_none_of_its_secrets(folder: Folder) -> None:
    folder.device(
        "{id: d, tags: [{name: a, node: i=1}]}",
        "type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}, username: u, password_file: nix",
    )
    with pytest.raises(ConfigError, match=r"password_file: .*nix does not exist"):
        load_line_file(folder.path / "lines/pl1.yaml")
    (link,) = load_line_file(folder.path / "lines/pl1.yaml", look=False).links
    assert link.id == "bus"
