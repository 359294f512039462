from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from drivers.opcua.nodes import STANDARD, Node, Way, index_of, indexes_of, parse
from drivers.opcua.options import OpcUa, OpcUaTag

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:server", "urn:plc:skid")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("nsu=urn:plc:skid;s=Reactor.Pressure", Node("urn:plc:skid", "Reactor.Pressure")),
        ("nsu=urn:plc:skid;s=a;b=c;ns=4;i=7", Node("urn:plc:skid", "a;b=c;ns=4;i=7")),
        ('ns=3;s="DB_Reactor"."p"[0]', Node(3, '"DB_Reactor"."p"[0]')),
        ("nsu=http://x/y%3Bz%25;i=7", Node("http://x/y;z%", 7)),
        ("i=2258", Node(0, 2258)),
        ("s=plain", Node(0, "plain")),
        ("ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a", Node(1, UUID("09087e75-8e5e-499b-954f-f2a9603db28a"))),
        ("ns=1;b=AAEC", Node(1, b"\x00\x01\x02")),
        ("/[urn:plc]Reactor/Pressure", Way((("urn:plc", "Reactor"), ("urn:plc", "Pressure")))),
        ("/[http://x/DI/]a&/b/[]&[c&]&&", Way((("http://x/DI/", "a/b"), (STANDARD, "[c]&")))),
        ("/[]Server/ServerStatus", Way(((STANDARD, "Server"), (STANDARD, "ServerStatus")))),
    ],
)
def test_what_a_technician_may_write(text: str, node: Node | Way) -> None:
    assert parse(text) == node
    assert OpcUaTag(name="x", node=text).node == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Reactor.Pressure", "is written nsu="),
        ("nsu=urn:plc;Reactor", "is written nsu="),
        ("nsu=;s=x", "is written nsu="),
        ("ns=x;s=y", "is written nsu="),
        ("ns=70000;s=y", "65535"),
        ("i=-1", "number from 0"),
        ("i=4294967296", "number from 0"),
        ("i=٣", "number from 0"),
        ("ns=1;g=nonsense", "GUID"),
        ("/Reactor/Pressure", "says its namespace"),
        ("/[urn:plc]Reactor//Pressure", "is written /"),
        ("/[urn:plc]Reactor/", "is written /"),
        ("/[urn:plc]Reactor/a[0]", "is written /"),
        ("/[urn:plc]Reactor/a&", "is written /"),
        ("/[urn:plc]" + "/".join("a" * 51), "is written /"),
        ("ns=1;b=###", "base64"),
    ],
)
def test_what_is_no_node_is_a_mistake_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)
    with pytest.raises(ValidationError, match=says):
        OpcUaTag(name="x", node=text)


def test_f17_the_index_is_the_one_of_this_server() -> None:
    node = Node("urn:plc:skid", "x")
    assert index_of(node, NAMESPACES) == 2
    assert index_of(node, ("http://opcfoundation.org/UA/", "urn:plc:skid")) == 1
    assert index_of(node, NAMESPACES[:2]) is None
    assert index_of(Node(2, "x"), NAMESPACES) == 2
    assert index_of(Node(3, "x"), NAMESPACES) is None
    assert indexes_of(Way((("urn:plc:skid", "x"),)), NAMESPACES) == ((2, "x"),)
    assert indexes_of(Way((("urn:plc:skid", "x"),)), NAMESPACES[:2]) is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"endpoint": "http://plc"}, "endpoint"),
        ({"endpoint": "opc.tcp://user:secret@plc:4840"}, "endpoint"),
        ({"endpoint": "opc.tcp://plc:99999"}, "65535"),
        ({"endpoint": "opc.tcp://plc:x"}, "65535"),
        ({"endpoint": "opc.tcp://:4840"}, "65535"),
        ({"security": None}, "security"),
        ({"security": {}}, "policy"),
        ({"password": "x"}, "needs a username"),
        ({"username": "u", "password": "x", "password_file": "y"}, "either"),
        ({"security": {"policy": "Basic128Rsa15"}}, "policy"),
    ],
)
def test_mistakes_of_a_link(changed: dict[str, object], says: str) -> None:
    right = {
        "id": "plc",
        "type": "opcua",
        "endpoint": "opc.tcp://plc:4840/path",
        "security": {"policy": "Basic256Sha256"},
        "devices": [{"id": "reactor"}],
    }
    assert OpcUa.model_validate(right).security.mode == "SignAndEncrypt"
    with pytest.raises(ValidationError, match=says) as caught:
        OpcUa.model_validate({**right, **changed})
    assert "secret" not in str(caught.value)
