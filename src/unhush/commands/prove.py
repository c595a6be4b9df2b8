"""`unhush prove`: proves that nothing but logging was inserted."""

from __future__ import annotations

import click

from ..codemods.prove import prove_trees
from ..codemods.trees import TreeFailure, trees_for
from ..config import load_settings
from ..files import complain
from ..options import paths_argument, quiet_option, version_option
from ..output import Failure, Output
from ..reports import prooftext


@click.command("prove")
@paths_argument
@click.option("--against", required=True, metavar="REF_OR_DIR", help="The git revision or the folder to compare with.")
@quiet_option
@version_option
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], against: str, quiet: bool) -> None:
    """Proves that files differ from a git revision or another folder by inserted logging alone.

    An existing folder wins over a revision of that name; it corresponds to the one PATH that is given. Every file that
    differs is looked at, whatever is excluded. Exits with 0 where all is proved, 1 where anything else differs, 2 where
    something can't be read or the command line is wrong.
    """
    output = Output(quiet)
    paths = paths or (".",)
    try:
        report = prove_trees(*trees_for(against, paths), load_settings(paths))
    except TreeFailure as failure:
        raise Failure(str(failure)) from failure
    for error in report.errors:
        complain(error, output)
    output.write(prooftext.render(report))
    output.remark(prooftext.summary(report))
    ctx.exit(2 if report.errors else 0 if report.proved else 1)
