"""``pilot-gateway certs``: which OPC UA servers are trusted, and the gateway's own certificate.

A running gateway looks at the folder at every connect: nothing need be restarted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from drivers.opcua import pki
from drivers.opcua.pki import DEFAULT_FOLDER, Stored
from gateway.core.errors import GatewayError
from gateway.terminal import table_of

PLACES = {"own": "ours", "trusted": "trusted", "rejected": "refused"}


def _folder(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--pki",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_FOLDER,
        show_default=True,
        help="Folder of the certificates, as pki in the line file.",
    )(command)


@click.group()
def certs() -> None:
    """Certificates of OPC UA: whom the gateway trusts, and its own one.

    THUMBPRINT may be shortened to its first digits.

    \b
    Example:
      pilot-gateway certs list
      pilot-gateway certs trust 3F2A
    """  # noqa: D301


@certs.command("list")
@_folder
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_(folder: Path, output: str) -> None:
    """Every certificate: place, thumbprint, name, until when it is valid.

    \b
    Example:
      pilot-gateway certs list --format json
    """  # noqa: D301
    found = _stored(folder)
    if output == "json":
        click.echo(orjson.dumps([_about(each) for each in found], option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = table_of("place", "thumbprint", "name", "valid until", "hosts")
    for each in found:
        about = _about(each)
        table.add_row(
            PLACES[each.place], each.thumbprint, about["name"], about["valid_until"][:10], ", ".join(about["hosts"])
        )
    console.print(table)


@certs.command()
@_folder
@click.argument("thumbprint")
def show(folder: Path, thumbprint: str) -> None:
    """What one certificate says, as JSON.

    \b
    Example:
      pilot-gateway certs show 3F2A
    """  # noqa: D301
    click.echo(orjson.dumps(_about(_one(folder, thumbprint)), option=orjson.OPT_INDENT_2).decode())


@certs.command()
@_folder
@click.argument("thumbprint")
def trust(folder: Path, thumbprint: str) -> None:
    """Trust a server that was refused. Compare the thumbprint with the one that the server itself shows, first.

    \b
    Example:
      pilot-gateway certs trust 3F2A
    """  # noqa: D301
    _move(folder, thumbprint, "trusted", "is trusted from its next connect on")


@certs.command()
@_folder
@click.argument("thumbprint")
def reject(folder: Path, thumbprint: str) -> None:
    """Trust a server no longer. A conversation that is under way ends with the session.

    \b
    Example:
      pilot-gateway certs reject 3F2A
    """  # noqa: D301
    _move(folder, thumbprint, "rejected", "is refused from its next connect on")


@certs.command()
@_folder
def renew(folder: Path) -> None:
    """Make a new certificate and key for the gateway; the former ones stay beside them with the ending .old.

    Every server has to trust the new certificate.

    \b
    Example:
      pilot-gateway certs renew
    """  # noqa: D301
    try:
        file = pki.renew(folder)
    except OSError as e:
        raise _cannot(folder, e) from e
    click.echo(f"new certificate: {file}; tell every server to trust it")


def _move(folder: Path, thumbprint: str, place: str, effect: str) -> None:
    found = _one(folder, thumbprint)
    if found.place == "own":
        raise GatewayError("that is the gateway's own certificate: it is for servers to trust")
    try:
        pki.move(folder, found, place)
    except OSError as e:
        raise _cannot(folder, e) from e
    click.echo(f"{found.name} ({found.thumbprint}) {effect}")


def _one(folder: Path, start: str) -> Stored:
    """The only certificate whose thumbprint starts so."""
    digits = start.replace(":", "").replace(" ", "").upper()
    found = {each.thumbprint: each for each in _stored(folder) if each.thumbprint.startswith(digits)}
    if len(found) != 1:
        what = "several certificates have" if found else "no certificate has"
        raise GatewayError(f"{what} a thumbprint that starts with {start}; see pilot-gateway certs list --pki {folder}")
    return next(iter(found.values()))


def _stored(folder: Path) -> list[Stored]:
    if not folder.is_dir():
        raise GatewayError(f"there is no folder {folder}; say with --pki where the certificates are")
    try:
        return pki.stored(folder)
    except OSError as e:
        raise _cannot(folder, e) from e


def _cannot(folder: Path, error: OSError) -> GatewayError:
    return GatewayError(f"cannot use {folder}: {error.strerror or error}; run it as the user of the gateway")


def _about(found: Stored) -> dict[str, Any]:
    certificate = found.certificate
    uris, hosts = pki.names_of(certificate)
    return {
        "place": found.place,
        "file": str(found.file),
        "thumbprint": found.thumbprint,
        "name": found.name,
        "application": uris[0] if uris else "",
        "hosts": hosts,
        "valid_from": certificate.not_valid_before_utc.isoformat(),
        "valid_until": certificate.not_valid_after_utc.isoformat(),
        "expired": certificate.not_valid_after_utc < datetime.now(UTC),
        "issuer": certificate.issuer.rfc4514_string(),
    }
