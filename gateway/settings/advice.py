"""What is allowed but worth a word: plaintext where others could listen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from drivers.opcua.options import OpcUa
from gateway.settings.model import Line, Settings, SinkOptions, is_loopback
from gateway.sinks.options import MqttOptions


def advice(settings: Settings) -> tuple[str, ...]:
    """One sentence per thing that a careful person would look at again."""
    return tuple(_gateway(settings)) + tuple(word for line in settings.lines for word in line_advice(line))


def line_advice(line: Line) -> Iterator[str]:
    """The same for one line."""
    for link in line.links:
        if isinstance(link.options, OpcUa):
            if link.options.security.policy == "None":
                yield (
                    f"{line.file}: link {link.id}: security policy None: "
                    "anyone on the network can read and forge its values"
                )
            if link.options.password is not None:
                yield f"{line.file}: link {link.id}: the password stands in the line file; password_file keeps it apart"


def _gateway(settings: Settings) -> Iterator[str]:
    for name, sink in settings.sinks.items():
        host = _plaintext_host(sink)
        if host and not is_loopback(host):
            yield f"{settings.file}: sink {name}: no TLS to {host}: anyone on the way can read values and passwords"
    if not settings.api.loopback:
        yield f"{settings.file}: api: plain HTTP on {settings.api.host}: its token can be read on the way"


def _plaintext_host(sink: SinkOptions) -> str:
    """Where values go unprotected; empty where they are protected."""
    if isinstance(sink, MqttOptions):
        return "" if sink.tls else sink.host
    return (urlsplit(sink.url).hostname or "") if sink.url.startswith("http:") else ""
