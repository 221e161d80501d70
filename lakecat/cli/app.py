"""The command group and the way out: which exit code, and what is said when something fails."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

import click
from click.shell_completion import shell_complete

from lakecat.cli.commands import COMMANDS
from lakecat.cli.options import Common, common_options
from lakecat.cli.streams import ensure_streams, forget, put
from lakecat.errors import LakecatError, UsageError

INTERRUPTED: Final = 130
# Signals that ended this process: libraries in C make errors of their own of what the handler raises within them.
_SIGNALS: Final[list[int]] = []
COMPLETE: Final = "_LAKECAT_COMPLETE"
"""Variable by which a shell asks for completions, e.g. ``eval "$(_LAKECAT_COMPLETE=bash_source lakecat)"``."""


@click.group(
    name="lakecat",
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 something failed, 2 usage or configuration, 3 differences (with --exit-code), "
    "130 interrupted.",
)
@click.version_option(package_name="lakecat", prog_name="lakecat")
@common_options
def cli() -> None:
    """Land data into versioned tables, transform it with SQL, and see where everything came from."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. SIGTERM, which schedulers send, ends it as Ctrl-C does."""
    gc.set_threshold(50_000, 20, 100)  # imports make many objects and no garbage: the default costs 0.2 s of looking
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, _interrupt)
    ensure_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _SIGNALS.append(number)
    raise KeyboardInterrupt


def _interrupted() -> int:
    click.echo("interrupted", err=True)
    return INTERRUPTED


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    if (instruction := os.environ.get(COMPLETE)) is not None:
        return shell_complete(cli, {}, "lakecat", COMPLETE, instruction)
    common = Common()
    try:
        return _invoke(arguments, common)
    except BrokenPipeError:
        # Rows whose reader (head, less) has gone: no failure.
        forget(sys.stdout)
        return 0
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except LakecatError as err:
        if common.debug:
            raise
        if _SIGNALS:
            return _interrupted()
        common.output().error(err)
        return err.exit_code
    except Exception as err:  # the last stop before the user: nothing may end in a bare traceback
        if common.debug:
            raise
        if _SIGNALS:
            return _interrupted()
        common.output().error(_unexpected(err))
        return 1


def _invoke(arguments: Sequence[str], common: Common) -> int:
    """Parse and run, not with cli.main(): that turns a closed pipe into a failure."""
    try:
        with cli.make_context("lakecat", list(arguments), obj=common) as context:
            result = cli.invoke(context)
        put(sys.stdout, end="")
    except click.exceptions.Exit as err:
        return err.exit_code
    except click.exceptions.NoArgsIsHelpError as err:
        click.echo(err.format_message(), err=True)
        return err.exit_code
    except click.ClickException as err:
        common.as_json = common.as_json or "--json" in arguments
        context_ = err.ctx if isinstance(err, click.UsageError) else None
        command = f"{context_.command_path} --help" if context_ else "lakecat --help"
        common.output().error(UsageError(err.format_message(), next_command=command))
        return err.exit_code
    return result if isinstance(result, int) else 0


def _unexpected(err: Exception) -> LakecatError:
    frames = []
    trace = err.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
        trace = trace.tb_next
    place = next((frame for frame in reversed(frames) if frame.startswith("lakecat")), frames[-1])
    return LakecatError(
        f"an error that lakecat did not expect: {type(err).__name__} at {place}",
        hint="this is a bug; please report it with the output of the same command and --debug",
    )
