"""Options that mean the same on every command and may stand before or after the command's name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lakecat.cli.json_output import JsonOutput
from lakecat.cli.output import Output

if TYPE_CHECKING:
    from lakecat.lake import Lake

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Common:
    """The common options as given; later ones win."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    config: Path | None = None
    profile: str | None = None

    def output(self) -> Output:
        """The renderer that was asked for."""
        if self.as_json:
            return JsonOutput(sys.stdout, sys.stderr)
        from lakecat.cli.console import ConsoleOutput

        return ConsoleOutput(sys.stdout, sys.stderr, quiet=self.quiet, verbose=self.verbose)

    def connect(self) -> Lake:
        """Open the project."""
        from lakecat.lake import connect

        return connect(self.config, profile=self.profile)


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        common = context.ensure_object(Common)
        if context.get_parameter_source(str(parameter.name)) is not click.core.ParameterSource.DEFAULT:
            setattr(common, name, value)

    return keep


def _option(name: str, *flags: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*flags, f"_{name}", expose_value=False, callback=_store(name), **settings)


_COMMON = (
    _option("as_json", "--json", is_flag=True, help="Print one JSON document instead of text."),
    _option("quiet", "--quiet", "-q", is_flag=True, help="Say nothing but results and errors."),
    _option("verbose", "--verbose", "-v", is_flag=True, help="Say more about what is done."),
    _option(
        "config",
        "--config",
        "--project",
        "-c",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The project: its lakecat.yaml, or the folder of it. [default: the nearest above this folder]",
    ),
    _option("profile", "--profile", metavar="NAME", help="A profile of lakecat.yaml. [default: $LAKECAT_PROFILE]"),
    _option("debug", "--debug", is_flag=True, help="Show where in lakecat an error comes from."),
)

COMMON_OPTIONS = frozenset({"_as_json", "_quiet", "_verbose", "_config", "_profile", "_debug"})
"""Names of the options that every command has."""


def common_options(command: F) -> F:
    """Give a command the common options; it finds them with ``click.pass_obj`` as :class:`Common`."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def selection_options(command: F) -> F:
    """Give a command ``--select`` and ``--exclude``."""
    command = click.option(
        "--exclude", "-x", multiple=True, metavar="SELECTOR", help="Leave these out. May be given several times."
    )(command)
    return click.option(
        "--select",
        "-s",
        multiple=True,
        metavar="SELECTOR",
        help="Only these: name, raw.*, +x, x+, 2+x+1, tag:x, owner:x, col:x; a comma means and. Several may be given.",
    )(command)


dry_run_option = click.option("--dry-run", "-n", is_flag=True, help="Only say what would be done.")
exit_code_option = click.option("--exit-code", is_flag=True, help="Exit with 3 when there is something to report.")
