"""Entry point of the `unhush` command and of `python -m unhush`."""

from __future__ import annotations

import gc
import os
import sys

import click

INTERRUPTED = 130  # what a shell shows for a program that Ctrl-C ended
_NEW_OBJECTS = 20_000  # before the collector of cycles looks at them: syntax trees hold many objects and no cycles


def main() -> None:
    """Runs the command line and exits; every failure that a user can cause is one line on stderr."""
    code = run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written and closed: taking the interpreter apart would be a tenth of a short run


def run() -> int:
    """Runs the command line and returns its exit code. Raises SystemExit where the run was cut short."""
    gc.set_threshold(_NEW_OBJECTS)
    from .cli import cli

    try:
        return int(cli.main(prog_name="unhush", standalone_mode=False) or 0)
    except click.ClickException as error:
        from .output import Failure

        print(f"error: {' '.join(map(str.strip, error.format_message().splitlines()))}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, Failure) else 2)
    except click.Abort:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception:  # noqa: BLE001 - a defect of unhush must not pass for exit code 1, "findings"
        import traceback

        traceback.print_exc()
        print("error: unhush itself failed; please report the traceback above", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
