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
from cryptography.x509 import CertificateRevocationList
from rich.console import Console

from drivers.opcua import pki
from drivers.opcua.pki import DEFAULT_FOLDER, Stored
from drivers.opcua.trust import common_name, is_authority, names_of
from gateway.core.errors import GatewayError
from gateway.terminal import table_of

PLACES = {"own": "ours", "trusted": "trusted", "issuers": "authority", "rejected": "refused"}


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
    """Every certificate: place, thumbprint, name, until when it is valid; and every revocation list.

    \b
    Example:
      pilot-gateway certs list --format json
    """  # noqa: D301
    found, lists = _stored(folder)
    if output == "json":
        rows = [*map(_about, found), *(_about_list(*each) for each in lists)]
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = table_of("place", "thumbprint", "name", "valid until", "hosts")
    for each in found:
        about = _about(each)
        hosts = "every server that it signs" if about["authority"] else ", ".join(about["hosts"])
        until = about["valid_until"][:10] + (", expired" if about["expired"] else "")
        table.add_row(PLACES[each.place], each.thumbprint, about["name"], until, hosts)
    for file, revocations in lists:
        about = _about_list(file, revocations)
        until = (about["valid_until"] or "")[:10] + (", out of date" if about["expired"] else "")
        table.add_row("revoked", "", about["name"], until, f"{about['revoked']} certificates")
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
@click.argument("which", metavar="THUMBPRINT|FILE")
def trust(folder: Path, which: str) -> None:
    """Trust a server that was refused. Compare the thumbprint with the one that the server itself shows, first.

    A FILE holds the certificate of a server, that of an authority (CA), which then vouches for every server that it
    signs, or the revocation list (CRL) of an authority.

    \b
    Examples:
      pilot-gateway certs trust 3F2A
      pilot-gateway certs trust plant-ca.crt
      pilot-gateway certs trust plant-ca.crl
    """  # noqa: D301
    if Path(which).is_file():
        _add(folder, Path(which))
    else:
        _move(folder, which, "trusted", "is trusted from its next connect on")


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


def _add(folder: Path, file: Path) -> None:
    try:
        made = pki.add(folder, file)
    except OSError as e:
        raise _cannot(folder, e) from e
    if not made:
        raise GatewayError(f"{file} holds neither a certificate nor a revocation list (DER or PEM)")
    for each in made:
        click.echo(f"{each}: counts from the next connect on")


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
    found = {each.thumbprint: each for each in _stored(folder)[0] if each.thumbprint.startswith(digits)}
    if len(found) != 1:
        what = "several certificates have" if found else "no certificate has"
        raise GatewayError(f"{what} a thumbprint that starts with {start}; see pilot-gateway certs list --pki {folder}")
    return next(iter(found.values()))


def _stored(folder: Path) -> tuple[list[Stored], list[tuple[Path, CertificateRevocationList]]]:
    if not folder.is_dir():
        raise GatewayError(f"there is no folder {folder}; say with --pki where the certificates are")
    try:
        return pki.stored(folder), pki.lists(folder)
    except OSError as e:
        raise _cannot(folder, e) from e


def _cannot(folder: Path, error: OSError) -> GatewayError:
    return GatewayError(f"cannot use {folder}: {error.strerror or error}; run it as the user of the gateway")


def _about(found: Stored) -> dict[str, Any]:
    certificate = found.certificate
    uris, hosts = names_of(certificate)
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
        "authority": is_authority(certificate),
    }


def _about_list(file: Path, revocations: CertificateRevocationList) -> dict[str, Any]:
    until = revocations.next_update_utc
    return {
        "place": "revoked",
        "file": str(file),
        "name": common_name(revocations.issuer),
        "valid_until": until.isoformat() if until else None,
        "expired": until is not None and until < datetime.now(UTC),
        "issuer": revocations.issuer.rfc4514_string(),
        "revoked": len(revocations),
    }
