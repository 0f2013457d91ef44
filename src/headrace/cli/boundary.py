"""Where errors become messages: one line of what happened, one of what to do, and an exit status; no traceback.

Exit statuses: 0 done, 1 it could not be done, 2 the command line does not make sense, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import click

from headrace.core.errors import DeclarationError, HeadraceError

_DEBUG = "headrace.debug"


class Boundary(click.Group):
    """The group of all commands: every error that leaves one ends here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours are told, others are told and called a bug."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            sys.exit(130)
        # The outermost boundary: whatever comes here would otherwise be a traceback in a user's face.
        except Exception as error:
            if ctx.meta.get(_DEBUG):
                raise
            tell(error)
            sys.exit(1)


def debuggable(command: click.Command) -> None:
    """Give `command`, and every command below it, the option --debug."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            debuggable(below)
    else:
        command.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                envvar="HEADRACE_DEBUG",
                callback=_remember,
                is_eager=True,
                help="Show the whole traceback of an error.",
            )
        )


def _remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True


def tell(error: BaseException) -> None:
    """Print an error for a person, on standard error."""
    cause = sole(error)
    if not isinstance(cause, HeadraceError):
        cause = HeadraceError(
            f"{type(cause).__name__}: {cause}",
            hint="this looks like a bug in Headrace; run the command with --debug and report what it prints",
        )
    where = f"{cause.where}: " if isinstance(cause, DeclarationError) and cause.where else ""
    click.echo(click.style("error: ", fg="red", bold=True) + where + cause.message, err=True)
    if cause.hint:
        click.echo(click.style("  hint: ", fg="cyan") + cause.hint, err=True)


def sole(error: BaseException) -> BaseException:
    """The one error inside groups of one; task groups wrap what their tasks raise.

    >>> sole(ExceptionGroup("", [ExceptionGroup("", [ValueError(1)])]))
    ValueError(1)
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return sole(group.exceptions[0]) if len(group.exceptions) == 1 else group
