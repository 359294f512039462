"""Where things are: the shipped configuration, and links moved to other hosts and ports."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from gateway.core.errors import GatewayError
from gateway.core.model import Link


def config_folder() -> Path:
    """The configuration that came with the program: of the checkout, else of the installation."""
    candidates = (
        Path(__file__).resolve().parents[2] / "config",
        Path(sys.prefix) / "share" / "pilot-gateway" / "config",
    )
    for folder in candidates:
        if (folder / "lines").is_dir():
            return folder
    raise GatewayError(f"the example configuration is missing: looked in {' and '.join(map(str, candidates))}")


def relocate(link: Link, host: str | None = None, port: int | None = None) -> Link:
    """The same link at another host or port, in the words of whatever driver it belongs to."""
    options = link.options
    if not isinstance(options, BaseModel):
        raise TypeError(f"link {link.id} has no options to change")
    changes: dict[str, object]
    if "endpoint" in type(options).model_fields:
        parts = urlsplit(str(vars(options)["endpoint"]))
        new_host, new_port = host or parts.hostname or "127.0.0.1", parts.port if port is None else port
        netloc = f"[{new_host}]" if ":" in new_host else new_host
        changes = {"endpoint": parts._replace(netloc=netloc if new_port is None else f"{netloc}:{new_port}").geturl()}
    else:
        wanted = {"host": host, "port": port}
        changes = {key: value for key, value in wanted.items() if value is not None}
        known = type(options).model_fields.keys()
        # without a host the port is a serial one: a name, which no number replaces
        unknown = changes.keys() - (known if "host" in known else known - {"port"})
        if unknown:
            raise GatewayError(f"link {link.id} ({link.type}) has no {' and no '.join(sorted(unknown))} to change")
    return replace(link, options=options.model_copy(update=changes))
