"""UNH401, UNH402 and UNH403: handlers that say something, but too little."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Places = Callable[..., list[tuple[str, int]]]

CODES = ("UNH401", "UNH402", "UNH403")
HEAD = "import logging, sys, traceback, warnings, click, structlog\nfrom loguru import logger as loguru_log\n\n\n"


def module(body: str, caught: str = "Exception as e", after: str = "") -> str:
    """A function whose handler stands on the eighth row."""
    block = "\n".join("        " + line for line in body.splitlines())
    return (
        f"{HEAD}def f(self, log, logger, console, order):\n    try:\n        save(order)\n"
        f"    except {caught}:\n{block}\n{after}"
    )


NO_TRACEBACK = {
    "error": "logger.error('failed: %s', e)",
    "warning": "log.warning('failed')",
    "warn": "self.logger.warn('failed: %r', e)",
    "critical": "logging.critical(f'failed: {e}')",
    "fatal": "logging.fatal('failed')",
    "exc_info is false": "logger.error('failed', exc_info=False)",
    "exc_info is none": "logger.error('failed', exc_info=None)",
    "exception without it": "logger.exception('failed', exc_info=False)",
    "log with a level": "logger.log(logging.ERROR, 'failed')",
    "log with a number": "logger.log(40, 'failed')",
    "loguru's log": "loguru_log.log('ERROR', 'failed')",
    "loguru": "loguru_log.error('failed: {}', e)",
    "structlog": "structlog.get_logger().error('failed', error=str(e))",
    "text under a name": "text = f'failed: {e}'\nlogger.error(text)",
    "beside a debug record": "logger.debug('details')\nlogger.error('failed')",
    "beside a print": "print('failed')\nlogger.error('failed')",
    "in a branch": "if order:\n    logger.error('failed')",
    "then exits": "logger.error('failed')\nsys.exit(1)",
    "then shows its text": "logger.error('failed')\nreturn {'error': str(e)}",
}

ENOUGH = {
    "exception": "logger.exception('failed')",
    "exc_info": "logger.error('failed', exc_info=True)",
    "exc_info by the exception": "logger.warning('failed', exc_info=e)",
    "exc_info by a variable": "logger.warning('failed', exc_info=self.verbose)",
    "keywords unknown": "logger.error('failed', **order.extra)",
    "traceback as text": "logger.error(traceback.format_exc())",
    "traceback under a name": "text = traceback.format_exc()\nlogger.error(text)",
    "sys.exc_info": "logger.error('failed', order, sys.exc_info())",
    "loguru's opt": "loguru_log.opt(exception=True).error('failed')",
    "traceback in another record": "logger.error('failed')\nlogger.debug('why', exc_info=True)",
    "printed traceback": "logger.error('failed')\ntraceback.print_exc()",
    "raised again": "logger.error('failed')\nraise",
    "raised as something else": "logger.error('failed')\nraise RuntimeError('failed')",
    "raised under a condition": "logger.error('failed')\nif order:\n    raise",
    "handed on": "logger.error('failed')\nself.failed(e)",
    "kept": "logger.error('failed')\nself.error = e",
    "returned": "logger.error('failed')\nreturn e",
    "reported": "logger.error('failed')\nsentry_sdk.capture_exception()",
    "info": "logger.info('failed: %s', e)",
    "unknown level": "logger.log(order.level, 'failed')",
    "no logger": "self.basket.error('failed')",
}


@pytest.mark.parametrize("body", NO_TRACEBACK.values(), ids=NO_TRACEBACK.keys())
def test_record_without_traceback(body: str, places: Places) -> None:
    """A record of warning or more without traceback is reported, whatever logger writes it."""
    assert places(module(body), *CODES) == [("UNH401", 8)]


@pytest.mark.parametrize("body", ENOUGH.values(), ids=ENOUGH.keys())
def test_record_that_is_enough(body: str, places: Places) -> None:
    """A traceback that is kept, and an exception that is raised or handed on, leave nothing to say."""
    assert places(module(body), "UNH401") == []


PRINTS = {
    "print": "print('failed:', e)",
    "nothing of the exception": "print('failed')",
    "stderr": "print('failed', file=sys.stderr)",
    "write": "sys.stderr.write('failed')",
    "echo": "click.echo(f'failed: {e}')",
    "secho": "click.secho('failed', fg='red')",
    "console": "console.print('failed')",
    "text under a name": "text = str(e)\nprint(text)",
    "then a default": "print('failed')\nreturn None",
}

MORE_THAN_PRINTS = {
    "traceback": "print('failed')\ntraceback.print_exc()",
    "traceback printed": "print(traceback.format_exc())",
    "log": "print('failed')\nlogger.info('failed')",
    "exit": "print('failed')\nsys.exit(1)",
    "raise": "print('failed')\nraise",
    "exit code": "print('failed')\nreturn 1",
    "handed on": "print('failed')\nself.failed(e)",
    "kept": "print('failed')\nself.error = e",
    "text returned": "print('failed')\nreturn f'failed: {e}'",
    "error value": "print('failed')\nreturn {'error': 'failed'}",
    "warning": "print('failed')\nwarnings.warn('failed')",
    "another write": "self.file.write('failed')",
}


@pytest.mark.parametrize("body", PRINTS.values(), ids=PRINTS.keys())
def test_print_only(body: str, places: Places) -> None:
    """A handler that does no more than print is reported."""
    assert places(module(body), *CODES) == [("UNH402", 8)]


@pytest.mark.parametrize("body", MORE_THAN_PRINTS.values(), ids=MORE_THAN_PRINTS.keys())
def test_more_than_print(body: str, places: Places) -> None:
    """Any other evidence makes the print a courtesy."""
    assert places(module(body), "UNH402") == []


DEBUGS = {
    "debug": "logger.debug('failed')",
    "with traceback": "logger.debug('failed', exc_info=True)",
    "with the exception": "logger.debug('failed: %s', e)",
    "log with a level": "logger.log(logging.DEBUG, 'failed')",
    "trace": "loguru_log.trace('failed')",
    "two of them": "logger.debug('failed')\nlogger.debug('details')",
    "then a default": "logger.debug('failed')\nreturn []",
}

MORE_THAN_DEBUG = {
    "info": "logger.info('failed')",
    "beside a warning": "logger.debug('details')\nlogger.warning('failed', exc_info=True)",
    "beside a print": "logger.debug('failed')\nprint('failed')",
    "unknown level": "logger.log(order.level, 'failed')",
    "raise": "logger.debug('failed')\nraise",
    "handed on": "logger.debug('failed')\nself.failed(e)",
    "error value": "logger.debug('failed')\nreturn {'error': 'failed'}",
    "text returned": "logger.debug('failed')\nreturn str(e)",
    "exit": "logger.debug('failed')\nsys.exit(2)",
}


@pytest.mark.parametrize("body", DEBUGS.values(), ids=DEBUGS.keys())
def test_debug_only(body: str, places: Places) -> None:
    """A handler whose records are all below info is reported, with a traceback too."""
    assert places(module(body), *CODES) == [("UNH403", 8)]


@pytest.mark.parametrize("body", MORE_THAN_DEBUG.values(), ids=MORE_THAN_DEBUG.keys())
def test_more_than_debug(body: str, places: Places) -> None:
    """Any evidence that is seen where programs run is enough."""
    assert places(module(body), "UNH403") == []


@pytest.mark.parametrize("body", ["logger.error('failed')", "print('failed')", "logger.debug('failed')"])
def test_broad_handlers_only(body: str, places: Places) -> None:
    """Each of the three is about bare and broad handlers, by whatever name, and about no narrow one."""
    for caught in ("Exception", "BaseException", "(OSError, Exception)"):
        assert len(places(module(body, caught), *CODES)) == 1
    assert len(places(module(body, "").replace("except :", "except:"), *CODES)) == 1
    assert places(module(body, "OSError"), *CODES) == []


def test_a_predicate_may_log_below_info(places: Places) -> None:
    """A small probe that answers a question is left alone, the same handler elsewhere is not."""
    text = "def {}(logger):\n    try:\n        import_it()\n    except Exception:\n        logger.debug('no')\n"
    text += "        return False\n    return True\n"
    assert places(text.format("has_colour"), "UNH403") == []
    assert places(text.format("load"), "UNH403") == [("UNH403", 4)]


def test_severity(findings: Callable[..., tuple]) -> None:
    """A record or print that does not even name the exception is worse than one that does; tests matter least."""
    for with_, without in (("logger.error('x: %s', e)", "logger.error('x')"), ("print('x', e)", "print('x')")):
        (named,) = findings(module(with_), *CODES)
        (unnamed,) = findings(module(without), *CODES)
        (test,) = findings(module(without), *CODES, filename="/project/tests/test_orders.py")
        assert (named.severity, unnamed.severity, test.severity) == ("medium", "high", "low")


def test_a_checkout_below_a_folder_named_tests_is_no_test(findings: Callable[..., tuple]) -> None:
    """Only the path below the project's root tells a test."""
    (outside,) = findings(module("print('x')"), "UNH402", filename="/srv/tests/test_project/orders.py")
    assert outside.severity == "high"
