"""The options of the command line as Markdown, from the parser that reads them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from rnncore.cli.main import make_parser


def as_markdown() -> str:
    """A section for each command: what it does, how it is called, its options."""
    (commands,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    return "\n".join(line for name, parser in commands.choices.items() for line in _section(parser, summaries[name]))


def _section(parser: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    yield f"## {parser.prog}\n"
    yield f"{_text(parser.description) or summary.capitalize() + '.'}\n"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if not actions:
            continue
        if group.title not in ("positional arguments", "options"):
            yield f"**{(group.title or '').capitalize()}**\n"
        for action in actions:
            yield f"`{_invocation(parser, action)}`"
            yield f": {_explanation(parser, action)}\n"


def _invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._format_action_invocation(action)


def _explanation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = _text(parser._get_formatter()._expand_help(action)) if action.help else ""
    # A list of names; of numbers, the help says it.
    names = action.default if isinstance(action.default, list) else []
    default = ",".join(name for name in names if isinstance(name, str))
    if default and "default" not in text:
        text += f"{'; ' if text else ''}default `{default}`"
    return text or "-"


def _text(text: str | None) -> str:
    """With what Markdown would take for markup kept as it is, and commands as code."""
    code = re.split(r"(`[^`]*`)", text or "")
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[#])", r"\\\1", part) for part in code)
