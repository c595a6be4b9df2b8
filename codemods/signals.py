"""The signs by which a silent handler's severity is judged: what it leaves behind, what its `try` does, where it stands.

Each sign is a word; `severity` says what it weighs and how it is told to a person. What a name merely suggests (`asks`,
`far`) is weighed; what is told as a fact (`network`, `remote`) wants more evidence.
"""

from __future__ import annotations

import ast
import re

from . import aftermath, context
from .lazy import lazy_pattern
from .names import dotted, last_name, own_nodes
from .origins import origin
from .scope import HandlerSite, Try
from .source import Source
from .testcode import is_test


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of called names, by what the call is for.
_VERBS = {
    "writes": _set(
        "write save store persist commit flush rollback insert update rename replace move restore dump create apply "
        "migrate sync upload publish put set register add append send post emit push notify submit record install "
        "enable configure setup start init execute"
    ),
    "commits": _set(
        "write save store persist commit rollback insert rename restore migrate sync upload publish delete"
    ),
    "asks": _set(
        "request fetch download query execute connect recv receive urlopen rpc get post send call api select fetchall "
        "fetchone scalar"
    ),
    "process": _set("run popen output communicate spawn system subprocess exec"),
    "parses": _set("parse loads load decode deserialize unpack unpickle fromstring strptime json yaml read unmarshal"),
    "probes": _set(
        "signature getsource getfile terminal isatty fileno getcwd gethostname expanduser version platform locale uname "
        "getuser getpid module spec exists stat getmtime getsize isdir isfile realpath"
    ),
    "shows": _set("draw render repaint title display show refresh redraw beep print progress bar style color cursor"),
    "measures": _set(
        "metric metrics span trace tag telemetry track stat stats incr gauge counter observe instrument tracer annotate"
    ),
}
_CLEAN = _set(
    "close unlink remove rmtree kill terminate cancel shutdown stop join disconnect release unregister cleanup dispose "
    "wait quit destroy detach delete clear reset drain aclose deregister unsubscribe logout leave finish unbind "
    "uninstall abort flush rmdir killpg"
)
_CONVERT = _set(
    "int float str bool len isinstance issubclass getattr hasattr setattr repr type iter next dict list set tuple strip "
    "split lower upper encode decode format join get keys items values startswith endswith replace sorted min max abs "
    "round hash ord chr zip enumerate range any all callable vars dir id pop index lstrip rstrip copy deepcopy append"
)
_TINY = _CONVERT | _set(
    "parse timestamp time date datetime isoformat fromisoformat fromtimestamp locale ip address network uuid version "
    "decimal fraction loads dumps quote unquote b64decode hex from strptime strftime path abspath realpath normpath"
)
_REMOTE = _set(
    "client session conn connection db database cursor http https requests api socket sock server rpc redis queue "
    "broker channel smb ldap ssh dce repo bucket s3 collection engine transaction registry"
)
# Of those the ones that name a remote party and hardly ever anything else, calls that ask one whatever they are made
# on, and libraries that do.
_SURELY_REMOTE = _REMOTE - _set("api repo queue broker channel bucket collection engine transaction registry")
_ASKS_REMOTE = _set("urlopen download fetchall fetchone rpc recv")
_NETWORK = _set(
    "requests httpx urllib urllib2 urllib3 http httplib aiohttp socket ssl ftplib smtplib imaplib poplib telnetlib xmlrpc "
    "websocket websockets grpc paramiko boto3 botocore redis pymongo sqlalchemy sqlite3 psycopg psycopg2 pymysql asyncpg "
    "MySQLdb elasticsearch ldap ldap3 zmq"
)
_CALLBACK = _set(
    "callback cb hook handler func fn function listener subscriber observer plugin errback predicate check"
)
_SYSTEM = _set("os curses termios signal atexit ctypes fcntl tty readline locale platform sys gc resource winreg")
_PURPOSE = {
    "for_text": _set("repr format display describe summary pretty formatted str label title render html markdown"),
    "for_closing": _set(
        "close stop shutdown cleanup teardown disconnect exit quit kill terminate cancel dispose release destroy finalize "
        "clean down unload abort aclose reset"
    ),
    "for_getting": _set("get find fetch read lookup list query retrieve search collect iter all"),
    "for_loading": _set("load parse decode import deserialize from"),
    "for_writing": _set(
        "save write update send sync delete create set store publish upload put post add record apply install migrate "
        "commit insert handle process run execute"
    ),
    "for_reporting": _set(
        "log report error exception traceback debug trace telemetry emit metrics stats usage analytics tracking crash"
    ),
    "for_environment": _set(
        "version platform capability support supports detect env info system terminal hostname locale encoding feature "
        "os arch cpu gpu memory cgroup"
    ),
    "for_trying": _set(
        "safe safely try maybe attempt best ignore silent quiet quietly optional possibly guess gracefully default "
        "fallback coerce infer detect probe sniff"
    ),
}
_ERROR_VALUE = lazy_pattern(
    r"err|fail|invalid|unknown|unavail|missing|bad|broken|exception|not[ _]|n/a|\?|could|cannot|unable|problem|<", re.I
)
_PREDICATE = lazy_pattern(
    r"^_*(?:is|has|can|should|supports?|valid\w*|check_is|are|was|does|contains|exists|matches|in)_|"
    r"_(?:exists|available|supported|installed|reachable|running|alive|enabled|on|ok|valid)$|"
    r"^_*(?:is|has|can|supports|valid|exists|available|supported)(?:[A-Z]|$)|alive|^__(?:eq|ne|contains|instancecheck)__$"
)
_TODO = lazy_pattern(r"\b(?:TODO|FIXME|XXX|HACK)\b|\blog\b|\?\?", re.I)
_EXPLAINS = lazy_pattern(
    r"best[- ]?effort|ignor|optional|don'?t care|doesn'?t matter|not (?:fatal|critical|important|supported|available|"
    r"a problem|needed)|fall ?back|already|may |might |never |harmless|okay|fine|safe|expected|swallow|suppress|silent|"
    r"shouldn'?t|should not|must not|cannot|can'?t|no need|prevent|not all|if (?:it|we|the|this)|in case|unsupported|"
    r"older|some ",
    re.I,
)
_TOLD = lazy_pattern(
    r"\blogg|report|raise|surfac|render|handled|shown|display|propagat|primary|shut(?:ting)? ?down|teardown", re.I
)
_FALLBACK_DOC = lazy_pattern(
    r"None if|or None|if possible|best[- ]effort|otherwise|default|False if|silently|ignor|fall ?back|attempt|try to|"
    r"tries to|never raise|if (?:it|the|there|no|not)",
    re.I,
)
_TOOLS = lazy_pattern(r"(?:^|/)(?:scripts?|tools?|setup\.py|docs?|contrib|utils?|compat|debug\w*)(?:/|\.py)")
_TELEMETRY = lazy_pattern(r"telemetry|instrument|tracing|metrics|analytics|monitor|usage|_otel|opentelemetry")
_DISPLAY = lazy_pattern(r"(?:^|/)(?:gui|ui|widgets?|qt|tk|console|terminal|repl|completer?|completion)")
_ERROR_CLASS = lazy_pattern(r"Error|Exception|Handler|Formatter|Logger")


def signs_of(site: HandlerSite) -> frozenset[str]:
    """Every sign that a silent handler bears."""
    found: set[str] = set()
    _leaves(site, found)
    _comments(site, found)
    _tries(site, found)
    _purpose(site, found)
    _surroundings(site, found)
    _place(site, found)
    aftermath.add_signs(site, found)
    return frozenset(found)


def _leaves(site: HandlerSite, found: set[str]) -> None:
    """What the handler catches and leaves behind."""
    value, names, returned = context.outcome(site)
    kind = context.value_kind(value)
    found.add("shape_" + site.shape)
    if site.breadth == "bare":
        found.add("bare")
    if "BaseException" in site.caught:
        found.add("base")
    if site.shape in ("return", "assign", "mixed") and (returned or names):
        found.add(("returns_" if returned else "sets_") + kind)
    if value is not None and kind in ("name", "literal", "text") and _ERROR_VALUE.search(ast.unparse(value)):
        found.add("error_value")
    if any(_ERROR_VALUE.search(name) for name in names):
        found.add("error_name")
    if len(site.try_.handlers) > 1:
        found.add("one_of_several")
    if site.try_.orelse:
        found.add("else")


def _comments(site: HandlerSite, found: set[str]) -> None:
    """What the comments of the handler say."""
    text = context.comment_of(site)
    count = len(text.split())
    if count >= 2:
        found.add("comment")
    if count >= 6:
        found.add("comment_long")
    if count >= 14:
        found.add("comment_very_long")
    if _EXPLAINS.search(text):
        found.add("comment_explains")
    if _TODO.search(text):
        found.add("comment_todo")
    if _TOLD.search(text):
        found.add("comment_told")


def _tries(site: HandlerSite, found: set[str]) -> None:
    """What the guarded block does."""
    body = context.body_of(site)
    _sizes(body, found)
    named = [set(context.words(name)) for name in body.calls]
    converts = [not words or words <= _CONVERT for words in named]
    if named and all(converts):
        found.add("only_converts")
    if named and all(not words or words <= _TINY for words in named) and body.statements <= 2:
        found.add("tiny")
    if any(words & _CLEAN for words in named):
        found.add("cleans")
        if all(words & _CLEAN or converted for words, converted in zip(named, converts, strict=True)):
            found.add("only_cleans")
    found.update(name for name, verbs in _VERBS.items() if body.verbs & verbs)
    own = converts.count(False)
    if own:
        found.add(f"work{min(own, 3)}")
    if body.imports:
        found.add("imports" if body.imports < body.statements else "only_imports")
    found.update(name for name in ("raises", "loops", "withs", "stores", "returns") if getattr(body, name))
    _receivers(site, found)


def _sizes(body: context.Body, found: set[str]) -> None:
    count, calls = body.statements, len(body.calls)
    found.add("size1" if count <= 1 else "size3" if count <= 3 else "size7" if count <= 7 else "size15")
    found.add("calls0" if not calls else "calls1" if calls == 1 else "calls3" if calls <= 3 else "calls9")


def _receivers(site: HandlerSite, found: set[str]) -> None:
    """What the calls are made on: a remote party, the system, a callback."""
    parameters = _parameters(site)
    for call in context.calls_of(site):
        name = dotted(call.func) or ""
        parts = {word for part in name.split(".")[:-1] for word in context.words(part)}
        if parts & _REMOTE:
            found.add("far")
        if "asks" in found and _asks_remote(call, parts, site.scope.source):
            found.add("network")
        if parts & _SURELY_REMOTE:
            found.add("remote")
        if name.split(".")[0] in _SYSTEM:
            found.add("system")
        last = context.words(last_name(call.func))
        if name in parameters or (set(last[-1:]) & _CALLBACK and not name.startswith("set")):
            found.add("calls_back")
    if _only_replaces(site):
        found.add("replaces")
        found.discard("writes")
    for sure, likely in (("network", "asks"), ("remote", "far")):
        if sure in found:
            found.discard(likely)
    if any(isinstance(part, ast.Await) for part in context.nodes_of(site)):
        found.add("awaits")
    if any(isinstance(part, ast.AugAssign) for part in context.nodes_of(site)):
        found.add("counts")


def _only_replaces(site: HandlerSite) -> bool:
    """Whether all that could write is `replace`, of no library: most likely that of a text, which changes nothing."""
    if context.body_of(site).verbs & _VERBS["writes"] != {"replace"}:
        return False
    return not any(dotted(call.func) in ("os.replace", "shutil.replace") for call in context.calls_of(site))


def _asks_remote(call: ast.Call, parts: set[str], source: Source) -> bool:
    """Whether a call asks another party for sure: by its name, by what it is made on, or by the library it is of."""
    verbs = set(context.words(last_name(call.func)))
    if verbs & _ASKS_REMOTE:
        return True
    if not verbs & _VERBS["asks"]:
        return False
    return bool(parts & _SURELY_REMOTE) or (origin(call.func, source) or "").partition(".")[0] in _NETWORK


def _parameters(site: HandlerSite) -> frozenset[str]:
    if site.function is None:
        return frozenset()
    arguments = site.function.args
    return frozenset(part.arg for part in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)) - {
        "self",
        "cls",
    }


def _purpose(site: HandlerSite, found: set[str]) -> None:
    """What the function around the handler is for, by its name, annotation and docstring."""
    node, name = site.function, context.function_name(site)
    if node is None:
        found.add("module_level")
        return
    spelled = set(context.words(name))
    found.update(sign for sign, verbs in _PURPOSE.items() if spelled & verbs)
    if name in ("__repr__", "__str__", "__format__", "__html__", "_repr_html_", "__unicode__"):
        found.add("for_text")
    if name in ("__del__", "__exit__", "__aexit__"):
        found.add("in_del")
    if name in ("__hash__", "__getattr__", "__dir__", "__len__", "__bool__", "__lt__"):
        found.add("protocol")
    if name == "__init__":
        found.add("in_init")
    if name in ("main", "run", "_main"):
        found.add("in_main")
    if name.startswith("test") or name in ("setUp", "tearDown"):
        found.add("in_test")
    if isinstance(node, ast.AsyncFunctionDef):
        found.add("async")
    if name.startswith("_"):
        found.add("private")
    annotation = ast.unparse(node.returns) if node.returns is not None else ""
    if annotation == "bool" or _PREDICATE.search(name):
        found.add("predicate")
    if annotation == "None":
        found.add("procedure")
    if "None" in annotation[1:] or "Optional" in annotation:
        found.add("optional")
    if _FALLBACK_DOC.search(context.docstring_of(site)):
        found.add("doc_fallback")


def _surroundings(site: HandlerSite, found: set[str]) -> None:
    """Where the try stands in its function, and what comes after."""
    if site.in_loop:
        found.add("in_loop")
    if where := context.within(site):
        found.add("in_" + where)
    looked, acted = context.after_names(site)
    if looked:
        found.add("looked_at")
    if acted:
        found.add("acted_on")
    after = site.following
    if not after:
        found.add("last")
    elif isinstance(after[0], ast.Return):
        found.add("then_returns")
    near = after[:2]
    if any(isinstance(node, Try) for node in near):
        found.add("then_tries")
    if any(isinstance(part, ast.Raise) for part in own_nodes(near)):
        found.add("then_raises")
    if after and site.shape == "empty" and context.body_of(site).returns:
        found.add("falls_through")


def _place(site: HandlerSite, found: set[str]) -> None:
    """What the file and the class are for, by name."""
    path = site.scope.source.place
    if is_test(site.scope.source):
        found.add("tests")
    for sign, pattern in (("tools", _TOOLS), ("telemetry", _TELEMETRY), ("display", _DISPLAY)):
        if pattern.search(path):
            found.add(sign)
    if any(_ERROR_CLASS.search(name) for name in context.enclosing_class_names(site)):
        found.add("error_class")
