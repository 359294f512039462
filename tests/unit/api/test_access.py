"""Who is let in."""

from __future__ import annotations

import pytest

from .conftest import Insides

RIGHT = "s3cret-token"
PROTECTED = ("/readyz", "/metrics", "/api/v1/live", "/api/v1/devices", "/api/v1/status", "/nothing")


@pytest.mark.parametrize("path", PROTECTED)
async def test_with_a_token_everything_but_healthz_needs_it(insides: Insides, path: str) -> None:
    async with insides.client(token=RIGHT, address="10.0.0.9") as api:
        bare = await api.get(path)
        assert (bare.status_code, bare.headers["www-authenticate"]) == (401, "Bearer")
        assert "Bearer" in bare.json()["error"]
        for wrong in (
            b"Bearer s3cret-toke",
            b"Bearer ",
            b"Basic s3cret-token",
            b"s3cret-token",
            b"Bearer s3cret-tok\xe9n",
        ):
            answer = await api.get(path, headers={b"authorization": wrong})
            assert answer.status_code == 401, wrong
        right = await api.get(path, headers={"authorization": "Bearer s3cret-token"})
        assert right.status_code in (200, 404)
        assert (await api.get("/healthz")).status_code == 200


async def test_the_token_is_not_echoed(insides: Insides) -> None:
    async with insides.client(token=RIGHT) as api:
        answer = await api.get("/api/v1/live", headers={"authorization": "Bearer guessed-value"})
        assert b"s3cret" not in answer.content
        assert b"guessed" not in answer.content


@pytest.mark.parametrize("path", PROTECTED)
async def test_without_a_token_other_machines_are_refused(insides: Insides, path: str) -> None:
    async with insides.client(address="192.168.1.20") as api:
        answer = await api.get(path)
        assert answer.status_code == 403
        assert "no token is set" in answer.json()["error"]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),  # a page that rebound its name to this machine
        ("127.0.0.1.evil.example:8080", 403),
        ("localhost.evil.example", 403),
        ("evil.example@127.0.0.1.nip.io", 403),
        ("", 403),
        ("[", 403),
    ],
)
async def test_without_a_token_the_host_header_must_name_this_machine(insides: Insides, host: str, code: int) -> None:
    async with insides.client() as api:
        assert (await api.get("/api/v1/live", headers={"host": host})).status_code == code


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8080"])
async def test_a_page_of_another_origin_changes_nothing(insides: Insides, origin: str) -> None:
    async with insides.client() as api:
        answer = await api.post("/api/v1/reload", headers={"origin": origin})
        assert answer.status_code == 403
        assert insides.reloads == 0
        assert (await api.get("/api/v1/live", headers={"origin": origin})).status_code == 200
        assert (await api.post("/api/v1/reload", headers={"origin": "http://127.0.0.1:8080"})).status_code == 200
