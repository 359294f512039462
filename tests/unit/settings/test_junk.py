"""Whatever stands in the files: settings or a ConfigError, nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import ConfigError
from gateway.settings import load
from tests.support.config import GATEWAY, LINE, TEMPLATE, Folder

WORDS = [
    "gateway", "site", "journal", "sinks", "api", "log", "lines", "templates", "line", "area", "names", "links", "id",
    "type", "host", "port", "devices", "template", "tags", "name", "register", "only", "without", "limits", "range",
    "kind", "scale", "protocol", "modbus", "modbus-tcp", "opcua", "mqtt", "influxdb", "url", "token", "token_file",
    "password_file", "acme-m1", "meter", "endpoint", "security", "policy", "node", "directory", "pki", "tls", "<<",
]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS), st.just(10**40)
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)


@contextlib.contextmanager
def _folder() -> Iterator[Folder]:
    with TemporaryDirectory() as path:
        yield Folder(Path(path))


def _survives(folder: Folder, environ: dict[str, str] | None = None) -> None:
    with contextlib.suppress(ConfigError):
        load(folder.path, environ or {})


def _graft(text: str, path: list[int], value: object) -> str:
    """The YAML of ``text`` with something in it replaced by junk, as JSON, which is YAML."""
    root = yaml.safe_load(text)
    at = root
    for step in path:
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys:
            break
        key = keys[step % len(keys)]
        if step % 3 == 0 or not isinstance(at[key], (dict, list)):
            at[key] = value
            break
        at = at[key]
    return json.dumps(root)


FILES = {
    "gateway.yaml": GATEWAY + "sinks: {mqtt: {host: h}}\napi: {port: 0}\n",
    "lines/pl1.yaml": LINE,
    "templates/acme-m1.yaml": TEMPLATE,
}
LINE_WITH_TEMPLATE = LINE.partition("        tags:")[0] + "        template: acme-m1\n"
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(name=st.sampled_from(sorted(FILES)), value=junk)
def test_a_whole_file_of_junk(name: str, value: object) -> None:
    with _folder() as folder:
        folder.line(LINE_WITH_TEMPLATE)
        folder.write(name, json.dumps(value))
        _survives(folder)


@few
@given(name=st.sampled_from(sorted(FILES)), path=st.lists(st.integers(0, 30), max_size=8), value=junk)
def test_junk_in_a_place_of_a_good_file(name: str, path: list[int], value: object) -> None:
    with _folder() as folder:
        if name.startswith("templates"):
            folder.line(LINE_WITH_TEMPLATE)
        folder.write(name, _graft(FILES[name], path, value))
        _survives(folder)


@few
@given(
    name=st.sampled_from(sorted(FILES)),
    data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode(errors="replace"))),
)
def test_bytes_that_are_hardly_yaml(name: str, data: bytes) -> None:
    with _folder() as folder:
        folder.write(name, data)
        _survives(folder)


@few
@given(
    steps=st.lists(st.one_of(st.sampled_from(WORDS), st.text("abc_-. ", max_size=4)), min_size=1, max_size=4),
    value=st.one_of(st.text(max_size=10), st.sampled_from(["[", "{a: b}", "&a [*a]", "5", "!x y"])),
)
def test_junk_in_the_environment(steps: list[str], value: str) -> None:
    with _folder() as folder:
        folder.write("gateway.yaml", FILES["gateway.yaml"])
        _survives(folder, {"PILOT_GATEWAY__" + "__".join(steps).upper(): value})
