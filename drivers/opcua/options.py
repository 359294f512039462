"""What a technician may write about OPC UA in a line file or a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from drivers.opcua.nodes import parse, parse_path
from gateway.core.options import DeviceOptions, LinkOptions, Options, Seconds, TagOptions, TemplateOptions


@dataclass(frozen=True, slots=True)
class Address:
    """Where a tag is in an OPC UA server; the ``address`` of a core Tag."""

    node: str  # nsu=<uri>;s=… · ns=<index>;s=… · i=… · /[uri]Name/Name
    element: int | None = None  # of an array, counted from 0
    path: str = ""  # of a field, where the value is a structure


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

    path: str = Field(
        "",
        max_length=500,
        description="which field of the variable, where it is a structure, such as Motor.Phases[2].Current",
    )

    def wire_address(self, device: DeviceOptions) -> Address:
        """The node as written; it is resolved at every session."""
        return Address(self.node, self.element, self.path)

    @field_validator("node")
    @classmethod
    def _check_node(cls, node: str) -> str:
        parse(node)
        return node

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if path:
            parse_path(path)
        return path


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


Endpoint = Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/@]+(/\S*)?$")]


class OpcUa(LinkOptions):
    """One OPC UA session."""

    type: Literal["opcua"]
    endpoint: Endpoint = Field(description="opc.tcp://host:port/path")
    also: tuple[Endpoint, ...] = Field(
        (), max_length=3, description="endpoints of the other servers of a redundant set: one of them is talked to"
    )
    security: Security = Field(description="{policy: Basic256Sha256, mode: SignAndEncrypt} or {policy: None}")
    username: str = Field("", description="user of the server; empty: anonymous")
    password: SecretStr | None = None
    password_file: str | None = Field(None, description="file that holds the password; read again at every connect")
    user_certificate_file: str | None = Field(
        None, description="certificate of the user, PEM or DER, in place of username"
    )
    user_key_file: str | None = Field(None, description="key of that certificate, PEM or DER, without a password")
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
        return _checked(endpoint)

    @field_validator("also")
    @classmethod
    def _check_ports(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked, also))

    @model_validator(mode="after")
    def _check_servers(self) -> OpcUa:
        if len({self.endpoint, *self.also}) <= len(self.also):
            raise ValueError("endpoint and also name different servers, each once")
        if self.also and self.security.server_name:
            raise ValueError("server_name is for one server; with also, endpoints need the names of the certificates")
        return self

    @model_validator(mode="after")
    def _check_certificate(self) -> OpcUa:
        if (self.user_certificate_file is None) != (self.user_key_file is None):
            raise ValueError("user_certificate_file and user_key_file belong together")
        if self.user_certificate_file is not None and self.username:
            raise ValueError("give either username or user_certificate_file")
        if self.user_certificate_file is not None and self.security.policy == "None":
            raise ValueError("user_certificate_file needs a security policy: without one nothing is signed")
        return self

    @model_validator(mode="after")
    def _check_password(self) -> OpcUa:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give either password or password_file")
        if (self.password is not None or self.password_file is not None) and not self.username:
            raise ValueError("a password needs a username")
        return self


def _checked(endpoint: str) -> str:
    mistake = "an endpoint is opc.tcp://host:port/path, the port at most 65535"
    try:
        parts = urlsplit(endpoint)
        complete = bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError as e:
        raise ValueError(mistake) from e
    if not complete:
        raise ValueError(mistake)
    return endpoint
