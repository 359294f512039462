"""What a technician may write about OPC UA in a line file or a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from drivers.opcua.nodes import parse
from gateway.core.options import DeviceOptions, LinkOptions, Options, Seconds, TagOptions, TemplateOptions


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tag is in an OPC UA server; the ``address`` of a core Tag."""

    node: str  # nsu=<uri>;s=… · ns=<index>;s=… · i=… · /[uri]Name/Name
    element: int | None = None  # of an array, counted from 0


class OpcUaTag(TagOptions):
    """One variable of an OPC UA server."""

    node: str = Field(
        min_length=3,
        max_length=4096,
        description="nsu=<namespace uri>;s=<identifier>, or i= g= b= in place of s=; or a path of browse names from "
        "Objects on, /[namespace uri]Name/Name",
    )

    element: int | None = Field(
        None, ge=0, le=1_000_000, description="which element of the variable, where it is an array; the first one is 0"
    )

    def wire_address(self, device: DeviceOptions) -> Address:
        """The node as written; it is resolved at every session."""
        return Address(self.node, self.element)

    @field_validator("node")
    @classmethod
    def _check_node(cls, node: str) -> str:
        parse(node)
        return node


class OpcUaTemplate(TemplateOptions):
    """config/templates/<name>.yaml of an OPC UA device."""

    protocol: Literal["opcua"]
    tags: tuple[OpcUaTag, ...] = Field(min_length=1)


class OpcUaDevice(DeviceOptions):
    """Variables of a server that belong to one instrument."""

    mode: Literal["subscribe", "poll"] = Field(
        "subscribe", description="subscribe: the server tells changes; poll: ask every period"
    )
    tags: tuple[OpcUaTag, ...] = ()


class Security(Options):
    """How the conversation is protected."""

    policy: Literal["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] = Field(
        description="None must be said explicitly: anyone can then read and forge values"
    )
    mode: Literal["Sign", "SignAndEncrypt"] = Field(
        "SignAndEncrypt", description="Sign: nobody can forge values; SignAndEncrypt: nobody can read them either"
    )
    server_name: str | None = Field(
        None,
        max_length=253,
        description="host name or address in the server's certificate, where it is not the endpoint's host",
    )


class OpcUa(LinkOptions):
    """One OPC UA session."""

    type: Literal["opcua"]
    endpoint: Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/@]+(/\S*)?$")] = Field(
        description="opc.tcp://host:port/path"
    )
    security: Security = Field(description="{policy: Basic256Sha256, mode: SignAndEncrypt} or {policy: None}")
    username: str = Field("", description="user of the server; empty: anonymous")
    password: SecretStr | None = None
    password_file: str | None = Field(None, description="file that holds the password; read again at every connect")
    pki: str = Field(
        "/var/lib/pilot-gateway/pki",
        description="folder of certificates: own/, trusted/, issuers/, rejected/",
    )
    timeout_s: Seconds = Field(4.0, description="longest time to wait for an answer")
    session_timeout_s: Seconds = Field(60.0, description="how long the server keeps the session of a silent client")
    devices: tuple[OpcUaDevice, ...] = Field(min_length=1)

    @field_validator("endpoint")
    @classmethod
    def _check_port(cls, endpoint: str) -> str:
        mistake = "an endpoint is opc.tcp://host:port/path, the port at most 65535"
        try:
            parts = urlsplit(endpoint)
            complete = bool(parts.hostname) and (parts.port is None or parts.port >= 0)
        except ValueError as e:
            raise ValueError(mistake) from e
        if not complete:
            raise ValueError(mistake)
        return endpoint

    @model_validator(mode="after")
    def _check_password(self) -> OpcUa:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give either password or password_file")
        if (self.password is not None or self.password_file is not None) and not self.username:
            raise ValueError("a password needs a username")
        return self
