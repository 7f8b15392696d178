"""`rnncore info`: the configuration of this machine and this installation."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..machine import cache_configuration, configuration, show_config
from .status import OK


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("info", help="say what this machine and this installation have")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    if arguments.json:
        print(json.dumps(configuration() | {"cache": cache_configuration()}, indent=2))
    else:
        show_config()
    return OK
