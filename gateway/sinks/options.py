"""What a technician may write about sinks in gateway.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from gateway.core.options import Options, Seconds

Port = Annotated[int, Field(ge=1, le=65_535)]

TopicPrefix = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:@=~-]+(/[A-Za-z0-9_.:@=~-]+)*$")
]
"""Levels of a topic: no wildcard, no empty level, nothing a broker keeps for itself ($SYS)."""

Measurement = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\s,=\\\"'#_\x00-\x1f\x7f][^\s,=\\\"'\x00-\x1f\x7f]*$")
]
"""A name that needs no escaping; names that begin with # or _ are comments or the database's own."""


class Tls(Options):
    """How the connection is protected. Verification cannot be switched off."""

    ca_file: str | None = Field(
        None, description="certificate authority that signed the server's certificate; default: the system's"
    )
    cert_file: str | None = Field(None, description="own certificate, where the server asks for one")
    key_file: str | None = Field(None, description="key of the own certificate; default: it is in cert_file")

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Tls:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file: the certificate that belongs to the key")
        return self


class MqttOptions(Options):
    """An MQTT broker."""

    type: Literal["mqtt"]
    host: str = Field(min_length=1)
    port: Port = 1883
    version: Literal["3.1.1", "5"] = Field("5", description="MQTT version")
    client_id: str | None = Field(None, min_length=1, max_length=23, description="default: pilot-<gateway>")
    username: str | None = None
    password: SecretStr | None = None
    password_file: str | None = Field(None, description="file that holds the password; read again at every connect")
    tls: Tls | None = Field(None, description="leave out for plaintext, {} for TLS with the system's authorities")
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = Field(
        30, description="a broker that went silent is found within twice this time"
    )
    prefix: TopicPrefix = Field("pilot/v1", description="first levels of every topic")
    window: Annotated[int, Field(ge=1, le=100)] = Field(
        100, description="messages on the way without an acknowledgement"
    )
    live_interval_s: Seconds = Field(1.0, description="shortest time between two live messages of a device")
    timeout_s: Seconds = Field(10.0, description="longest time to wait for an acknowledgement")

    @model_validator(mode="after")
    def _check_login(self) -> MqttOptions:
        if self.password and self.password_file:
            raise ValueError("give password or password_file, not both")
        if (self.password or self.password_file) and not self.username:
            raise ValueError("a password needs a username")
        return self


class InfluxDbOptions(Options):
    """An InfluxDB 2.x, 3.x or 1.8+, through its v2 write API."""

    type: Literal["influxdb"]
    url: str = Field(pattern=r"^https?://\S+$", description="http://host:8086")
    org: str = ""
    bucket: str = Field(min_length=1, description="bucket; InfluxDB 1.8: database/retention-policy; 3.x: database")
    token: SecretStr | None = None
    token_file: str | None = Field(None, description="file that holds the token; read again when it was refused")
    measurement: Measurement = Field("reading", description="name of the measurement that holds the readings")
    extra_tags: tuple[Literal["area", "equipment"], ...] = Field(
        (), description="further tags of every line; where a device has none, '-' is written"
    )
    tls: Tls | None = Field(None, description="for https; default: the system's authorities")
    max_values: Annotated[int, Field(ge=100, le=50_000)] = Field(25_000, description="most readings in one request")
    linger_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.5, description="how long to gather readings for one request"
    )
    timeout_s: Seconds = Field(10.0, description="longest time to wait for an answer")

    @model_validator(mode="after")
    def _one_secret(self) -> InfluxDbOptions:
        if self.token and self.token_file:
            raise ValueError("give token or token_file, not both")
        if len(set(self.extra_tags)) != len(self.extra_tags):
            raise ValueError("extra_tags names a tag twice")
        return self
