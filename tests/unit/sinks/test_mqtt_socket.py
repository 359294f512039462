"""The socket that gathers and reads ahead, on a real pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client

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
    for name in ("_create_socket", "_handle_pubackcomp"):
        assert getattr(Client, name) is not getattr(BufferedClient, name)
