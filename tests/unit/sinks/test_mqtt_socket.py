"""The socket that gathers and reads ahead, on a real pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from gateway.sinks.mqtt_socket import BufferedClient, BufferedSocket


@pytest.fixture
def pair() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(5)
        yield BufferedSocket(ours), theirs


def test_what_is_sent_leaves_with_flush(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    assert [buffered.send(piece) for piece in (b"ab", bytearray(b"c"))] == [2, 1]
    assert (buffered.queued, buffered.sent) == (3, 0)
    assert buffered.flush()
    assert (buffered.queued, buffered.sent) == (3, 3)
    assert theirs.recv(10) == b"abc"


def test_more_than_the_system_takes_stays_and_goes_later(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    large = bytes(range(256)) * 40_000
    buffered.send(large)
    assert not buffered.flush()
    assert 0 < buffered.sent < buffered.queued
    found = b""
    while len(found) < len(large):
        found += theirs.recv(1 << 20)
        buffered.flush()
    assert found == large


def test_reads_ahead_and_knows_what_is_unread(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    with pytest.raises(BlockingIOError):
        buffered.recv(1)
    theirs.send(b"abc")
    assert buffered.recv(1) == b"a"
    unread = [buffered.unread]
    assert buffered.recv(5) == b"bc"
    assert [*unread, buffered.unread] == [True, False]
    theirs.close()
    assert buffered.recv(1) == b""


def test_close_sends_what_is_gathered(pair: tuple[BufferedSocket, socket.socket]) -> None:
    buffered, theirs = pair
    buffered.send(b"DISCONNECT")
    buffered.close()
    assert theirs.recv(100) == b"DISCONNECT"
    assert theirs.recv(100) == b""


def test_paho_still_has_what_we_replace() -> None:
    for name in ("_create_socket", "_packet_read"):
        assert getattr(Client, name) is not getattr(BufferedClient, name)


@pytest.mark.parametrize(
    ("came", "taken", "left"),
    [
        (b"\x40\x02\x01\x02", [0x102], b""),
        (b"\x40\x02\x00\x07\x40\x02\x01\x02\x40", [7, 0x102], b"\x40"),
        (b"\x40\x02\x00", [], b"\x40\x02\x00"),  # half of one
        (b"\x40\x02\x00\x09", [], b"\x40\x02\x00\x09"),  # of a message that nobody waits for
        (b"\x40\x03\x00\x07\x10", [], b"\x40\x03\x00\x07\x10"),  # with a reason
        (b"\x30\x02\x00\x07", [], b"\x30\x02\x00\x07"),  # something else
        (b"", [], b""),
    ],
)
def test_plain_acknowledgements_are_taken_and_everything_else_is_left(
    pair: tuple[BufferedSocket, socket.socket], came: bytes, taken: list[int], left: bytes
) -> None:
    buffered, theirs = pair
    theirs.sendall(came)
    theirs.shutdown(socket.SHUT_WR)
    found = list(iter(lambda: buffered.take_puback({7, 0x102}), 0))
    assert found == taken
    assert b"".join(iter(lambda: buffered.recv(1), b"")) == left


def test_a_plain_acknowledgement_ends_the_wait_for_it_in_paho_itself() -> None:
    """The fast way and paho's own give the same: the message is forgotten, the callback called once."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        heard: list[int] = []
        client = BufferedClient(CallbackAPIVersion.VERSION2)
        client.on_publish = lambda client, userdata, mid, reason, properties: heard.append(mid)
        client._sock = BufferedSocket(ours)
        mids = [client.publish("t", b"x", 1).mid for _ in range(3)]
        plain, with_reason = (b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids[:2])
        theirs.sendall(plain + with_reason[:1])
        client.loop_read()
        theirs.sendall(with_reason[1:])  # in two pieces: paho's own way
        client.loop_read()
        assert heard == mids[:2]
        assert list(client._out_messages) == mids[2:]
        client._sock = None
