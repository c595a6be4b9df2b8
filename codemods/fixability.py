"""Whether a finding can be fixed safely, judged from its scope alone: cheap, asked for every finding."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from . import shapes
from .cancellations import is_cancellation
from .lazy import lazy_pattern
from .model import Fix
from .names import all_nodes, dotted, last_name, own_nodes
from .parsing import ParseFailure, parse
from .places import whole_words
from .rules import Match, Rule
from .scope import Function, Scope
from .source import Source

Verdict = tuple[Fix | None, str | None]

# Decorators that compile a function, or ship its source elsewhere: what they take is not all of Python.
_COMPILING = frozenset(
    "jit njit vectorize guvectorize cfunc ccall stencil jitclass intrinsic generated_jit register_jitable script "
    "script_method script_if_tracing autotune heuristics remote prim_func kernel pyfunc "
    "lightweight_component container_component".split()
)
_COMPILING_HOMES = (
    "numba.",
    "nb.",
    "cuda.",
    "torch.jit.",
    "triton.",
    "taichi.",
    "ti.",
    "cython.",
    "ray.",
    "tf.",
    "tvm.",
)
_COMPILING_DOTTED = frozenset(
    "app.function stub.function torch.compile dsl.component kfp.dsl.component task.virtualenv task.external_python "
    "task.kubernetes task.docker task.pyspark task.branch_virtualenv".split()
)
_LOGGING_BASES = frozenset(
    "Handler StreamHandler FileHandler RotatingFileHandler TimedRotatingFileHandler BaseRotatingHandler SocketHandler "
    "DatagramHandler SysLogHandler NTEventLogHandler SMTPHandler MemoryHandler BufferingHandler HTTPHandler "
    "QueueHandler QueueListener WatchedFileHandler NullHandler RichHandler Formatter BufferingFormatter JsonFormatter "
    "Filter Logger LoggerAdapter LogRecord BoundLogger BoundLoggerBase ProcessorFormatter "
    "FileLogObserver LegacyLogObserver".split()
)
_LOGGING_BASE = lazy_pattern(r"Log(?:ging)?(?:Handler|Formatter|Filter|Record|Observer|Adapter)$")
_LOGGING_METHODS = frozenset({"emit", "format", "filter", "handle", "handleError", "formatException", "makeRecord"})
_LOGGING_PARAMETERS = frozenset({"event_dict", "eventDict"})
_DELICATE = frozenset(
    {"__del__", "__getattr__", "__getattribute__", "__repr__", "__str__", "__format__", "__unicode__"}
)
# A method of another name that the class binds to one of them: `__del__ = close`.
_DELICATE_ALIAS = lazy_pattern(
    rb"[ \t]+(%s)[ \t]*=[ \t]*(?:__\w+__[ \t]*=[ \t]*)*(\w+)[ \t]*(?=[#\n]|\Z)"
    % b"|".join(sorted(name.encode() for name in _DELICATE)),
)
# Calls of a process that is about to become another one, or to end at once: its stderr may be somebody else's.
_FORKING = frozenset(
    "fork forkpty vfork dup2 _exit execv execve execvp execvpe execl execle execlp execlpe posix_spawn".split()
)
_PREEXEC = lazy_pattern(rb"preexec_fn[ \t]*=[ \t]*(?:[\w.]+\.)?(\w+)")
_EXHAUSTED = frozenset({"RecursionError", "MemoryError"})
_REASONS = {
    "UNH203": "leaving out the jump would change where the code goes on",
    "UNH204": "another return value would let exceptions through",
    "UNH302": "what is to be done with the results is for you to decide",
    "UNH303": "where the task is to be kept is for you to decide",
}
# Calls that register a function to be run at a delicate time, each searched only where its module's name stands.
_REGISTERS = (
    (b"signal", (b"signal", b"add_signal_handler"), "a signal handler may run within any other code, logging included"),
    (b"atexit", (b"register",), "it runs at exit, when logging may be shut down"),
    (b"fork", (b"register_at_fork", b"register_after_fork"), "it runs around a fork, when locks may be held"),
    (b"weakref", (b"ref", b"proxy", b"finalize", b"WeakMethod"), "a weakref callback may run within any other code"),
)
# Calls that compile a function or read its source.
_SHIPPERS = (
    (b"numba", (b"jit", b"njit", b"vectorize", b"guvectorize", b"cfunc"), "numba's jit"),
    (b"torch", (b"script",), "torch.jit.script"),
    (b"inspect", (b"getsource", b"getsourcelines"), "getsource"),
)
_DECORATOR = lazy_pattern(rb"^[ \t]*@[ \t]*([\w.]+)", re.M)
_ARGUMENTS = lazy_pattern(rb"[ \t]*\(((?>(?:[^()]++|\((?>(?:[^()]++|\([^()]*+\))*)\))*))\)")


def fixability(rule: Rule, match: Match, scope: Scope) -> Verdict:
    """Whether the fix of a finding is safe or unsafe or None (only reported), with the reason where it is not safe."""
    if reason := _hopeless(rule, match, scope):
        return None, reason
    if reason := _delicate(rule, match, scope):
        return "unsafe", reason
    return "safe", None


def kind_of_fix(rule: Rule, caught: tuple[str, ...], source: Source) -> str | None:
    """How a finding of a rule is rewritten: cancellation and GeneratorExit are raised again, whatever the rule."""
    if rule.fix == "log" and caught and all(_is_reraised(name, source) for name in caught):
        return "reraise"
    return rule.fix


def _is_reraised(name: str, source: Source) -> bool:
    """Whether what is caught by a name is best raised again."""
    return name == "GeneratorExit" or is_cancellation(name, source)


def _hopeless(rule: Rule, match: Match, scope: Scope) -> str | None:
    """Why a finding is only reported, if it is."""
    if rule.fix is None:
        return _REASONS.get(rule.code, "no rewrite is known that leaves the program as it is")
    if scope.source.filename.endswith(".pyi"):
        return "a stub holds no code that runs"
    types = {name.rpartition(".")[2] for name in match.caught}
    if types & _EXHAUSTED:
        return f"after {min(types & _EXHAUSTED)} a log call may fail in its turn"
    for node in match.path:
        if isinstance(node, (*Function, ast.ClassDef)) and (name := compiling(node, scope.source)):
            return f"`{name}` compiles the function or ships its source"
    for header in scope.classes:
        if name := _shipped(scope.source).get(header.name) or _compiled_classes(scope.source).get(header.name):
            return f"`{name}` compiles the function or ships its source"
    if is_logging_code(match.path, [base for header in scope.classes for base in header.bases]):
        return "logging from within logging code may never end"
    return _not_this_shape(rule, match, scope)


def compiling(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, source: Source) -> str | None:
    """What compiles a function or class or ships its source: a decorator, or a call that is given its name."""
    if node.name in (shipped := _shipped(source)):
        return shipped[node.name]
    for decorator in node.decorator_list:
        name = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator) or ""
        if _is_compiler(name, source):
            return f"@{name}"
    return None


def _is_compiler(name: str, source: Source) -> bool:
    """Whether a decorator of a dotted name compiles what it takes, or ships its source."""
    last = name.rpartition(".")[2]
    if last in _COMPILING or name.startswith(_COMPILING_HOMES) or name in _COMPILING_DOTTED:
        return True
    return last.startswith("overload") and b"numba" in source.utf8


def _compiled_classes(source: Source) -> dict[str, str]:
    """The classes of a file that a decorator compiles or ships; parsed for only where there is such a decorator."""
    if "compiled_classes" not in source.__dict__:
        names = {name.decode("utf-8", "replace") for name in _DECORATOR.findall(source.utf8)}
        compiled = any(_is_compiler(name, source) for name in names)
        source.__dict__["compiled_classes"] = dict(_classes_compiled(source)) if compiled else {}
    return source.__dict__["compiled_classes"]


def _classes_compiled(source: Source) -> Iterator[tuple[str, str]]:
    """The names of such classes, with what compiles them; nothing for a file that can't be parsed."""
    try:
        tree = parse(source)
    except ParseFailure:
        return
    for node in all_nodes(tree):
        if isinstance(node, ast.ClassDef) and node.decorator_list and (name := compiling(node, source)):
            yield node.name, name


def is_logging_code(path: tuple[ast.AST, ...], outer_bases: Sequence[str] = ()) -> bool:
    """Whether code at a path belongs to a logging handler, filter, formatter, logger, processor or observer.

    `outer_bases` are the bases, as dotted text, of the classes above the path.
    """
    bases = list(outer_bases)
    bases += [dotted(base) or "" for node in path if isinstance(node, ast.ClassDef) for base in node.bases]
    for base in bases:
        last = base.rpartition(".")[2]
        if base.startswith("logging.") or last in _LOGGING_BASES or _LOGGING_BASE.search(last):
            return True
    for node in path:
        if isinstance(node, Function):
            names = {arg.arg for arg in (*node.args.posonlyargs, *node.args.args)}
            if names & _LOGGING_PARAMETERS or (node.name in _LOGGING_METHODS and "record" in names):
                return True
    return False


def _not_this_shape(rule: Rule, match: Match, scope: Scope) -> str | None:
    """Why the kind of rewrite that the rule asks for does not fit the code at hand."""
    fix = kind_of_fix(rule, match.caught, scope.source) or ""
    if fix == "suppress" or (isinstance(match.node, ast.Call) and fix == "reraise"):
        return shapes.suppress_reason(match.node, match.path, scope, fix)
    if fix == "reraise":
        return shapes.reraise_reason(match.node, scope.source)
    if fix == "exc_info":
        return shapes.untraced(match.node, scope.source)[1]
    if fix == "level":
        return shapes.level_reason(match.node)
    return None


def _aliased(node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> str | None:
    """Why a method is delicate by a second name that its class gives it, if it is."""
    if "delicate_aliases" not in source.__dict__:
        source.__dict__["delicate_aliases"] = dict(_delicate_aliases(source.utf8))
    alias = source.__dict__["delicate_aliases"].get(node.name)
    return f"`{node.name}` is `{alias}` too, which may run at any time" if alias else None


def _delicate_aliases(utf8: bytes) -> Iterator[tuple[str, str]]:
    """The names of methods that a class gives a delicate second name, with that name."""
    for word in (b"__ =", b"__="):
        at = utf8.find(word)
        while at >= 0:
            if found := _DELICATE_ALIAS.match(utf8, utf8.rfind(b"\n", 0, at) + 1):
                yield found[2].decode(), found[1].decode()
            at = utf8.find(word, at + 3)


def _forking(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> str | None:
    """Why a function is delicate because it runs in a forked child or ends its process, if it does."""
    if node.name in _before_exec(scope.source):
        return "it runs between fork and exec, where a log line lands in the child's output"
    memo = scope.source.__dict__.setdefault("forking_functions", {})
    key = (node.lineno + scope.row_offset, node.col_offset)
    if key not in memo:
        memo[key] = _forks(node, scope)
    return (
        "it forks, execs or ends its process, where a log line may land in another program's output"
        if memo[key]
        else None
    )


def _before_exec(source: Source) -> frozenset[str]:
    """The names of the functions that a file hands over as `preexec_fn`."""
    if "before_exec" not in source.__dict__:
        source.__dict__["before_exec"] = frozenset(name.decode() for name in _PREEXEC.findall(source.utf8))
    return source.__dict__["before_exec"]


def _forks(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> bool:
    """Whether a function's own statements fork, exec or end the process."""
    utf8, starts = scope.source.utf8, scope.source.line_starts
    last = (node.end_lineno or node.lineno) + scope.row_offset
    text = utf8[starts[node.lineno + scope.row_offset - 1] : starts[last] if last < len(starts) else len(utf8)]
    if not any(word in text for word in (b"fork", b"dup2", b"_exit", b"os.exec", b"posix_spawn")):
        return False
    return bool({last_name(part.func) for part in own_nodes(node.body) if isinstance(part, ast.Call)} & _FORKING)


def _delicate(rule: Rule, match: Match, scope: Scope) -> str | None:
    """Why a fix is unsafe, if it is."""
    if kind_of_fix(rule, match.caught, scope.source) == "reraise":
        return "raising again changes what the program does"
    if rule.fix == "level":
        return "another level changes who hears of the record"
    if names := [name.rpartition(".")[2] for name in match.caught if _is_reraised(name, scope.source)]:
        return f"{min(names)} is best raised again"
    for node in match.path:
        if not isinstance(node, Function):
            continue
        if node.name in _DELICATE:
            return f"`{node.name}` may run at any time, within logging too"
        if reason := _registered(node, scope.source) or _forking(node, scope):
            return reason
    if rule.fix == "suppress":
        return shapes.suppress_doubt(match.path, match.caught, scope.source)
    return None


def _registered(node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> str | None:
    """Why a function runs at a delicate time: as a signal handler, at exit, or as a weakref callback."""
    if node.name in (callbacks := _callbacks(source)):
        return callbacks[node.name]
    if reason := _aliased(node, source):
        return reason
    for decorator in node.decorator_list:
        if dotted(decorator) == "atexit.register" or (last_name(decorator) == "register" and b"atexit" in source.utf8):
            return _REGISTERS[1][2]
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)][-2:]
    if len(names) == 2 and names[1] in ("frame", "_frame", "stack_frame") and names[0].strip("_").startswith("sig"):
        return _REGISTERS[0][2]
    return None


def _callbacks(source: Source) -> dict[str, str]:
    """The names that stand in calls which register callbacks, with the reason why these are delicate."""
    if "delicate_callbacks" not in source.__dict__:
        source.__dict__["delicate_callbacks"] = _arguments(source, _REGISTERS)
    return source.__dict__["delicate_callbacks"]


def _shipped(source: Source) -> dict[str, str]:
    """The names that stand in calls which compile a function or read its source, with what does so."""
    if "shipped_functions" not in source.__dict__:
        source.__dict__["shipped_functions"] = _arguments(source, _SHIPPERS)
    return source.__dict__["shipped_functions"]


def _arguments(source: Source, calls: tuple[tuple[bytes, tuple[bytes, ...], str], ...]) -> dict[str, str]:
    """The names within the arguments of calls, each kind of call searched only where its word stands in the file.

    Where the call's result is called in its turn, as in `jit(nopython=True)(function)`, those arguments count too.
    """
    found: dict[str, str] = {}
    for word, names, said in calls:
        for name in names if word in source.utf8 else ():
            for at in whole_words(source.utf8, name):
                end = at + len(name)
                while match := _ARGUMENTS.match(source.utf8, end):
                    found |= dict.fromkeys(re.findall(r"\w+", match[1].decode("utf-8", "replace")), said)
                    end = match.end()
    return found
