"""What is unprotected: told by the status always, by ``check`` where someone could do something about it."""

from gateway.settings.advice import advice, plaintext_of
from tests.support.config import GATEWAY, Folder


def test_the_status_tells_everything_unprotected_and_check_what_could_be_mended(folder: Folder) -> None:
    folder.write(
        "gateway.yaml",
        GATEWAY + "sinks:\n  mqtt: {host: 127.0.0.1}\n  far: {type: mqtt, host: broker.lan}\n"
        "  safe: {type: mqtt, host: broker.lan, tls: {}}\n  influxdb: {url: 'http://db.lan:8086', bucket: b}\n"
        "  https: {type: influxdb, url: 'https://db.lan', bucket: b}\n",
    )
    folder.line(
        "line: pl1\nlinks:\n"
        "  - {id: bus, type: modbus-tcp, host: h, devices: [{id: a, tags: [{name: a, register: 1}]}]}\n"
        "  - {id: open, type: opcua, endpoint: opc.tcp://h:1, security: {policy: None}, username: u, password: p,\n"
        "     devices: [{id: b, tags: [{name: a, node: i=1}]}]}\n"
        "  - {id: closed, type: opcua, endpoint: opc.tcp://h:1, security: {policy: Basic256Sha256},\n"
        "     devices: [{id: c, tags: [{name: a, node: i=1}]}]}\n"
    )
    settings = folder.load()
    assert plaintext_of(settings.lines[0].links, settings.sinks) == (
        "link bus: modbus-tcp without protection",
        "link open: opcua without protection",
        "sink mqtt: without TLS",
        "sink far: without TLS",
        "sink influxdb: without TLS",
    )
    assert [word.replace(f"{folder.path}/", "") for word in advice(settings)] == [
        "gateway.yaml: sink far: no TLS to broker.lan: anyone on the way can read values and passwords",
        "gateway.yaml: sink influxdb: no TLS to db.lan: anyone on the way can read values and passwords",
        "lines/pl1.yaml: link open: security policy None: anyone on the network can read and forge its values",
        "lines/pl1.yaml: link open: the password stands in the line file; password_file keeps it apart",
    ]
