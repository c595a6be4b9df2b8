"""What a project declares and uses, and which module names are its own."""

from __future__ import annotations

import pytest
from fixcases import everything

from unhush.codemods import backends, project
from unhush.codemods.declared import declared, declared_in_script
from unhush.codemods.module import Module
from unhush.codemods.project import Home
from unhush.codemods.source import Source


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\ndependencies = ['structlog>=24', 'Other_Thing[x]==1']\n"),
        (
            "pyproject.toml",
            "[tool.poetry.dependencies]\npython = '^3.11'\nstructlog = '^24'\nother-thing = {version='1'}\n",
        ),
        ("setup.cfg", "[options]\ninstall_requires =\n    structlog>=24\n    other.thing\n"),
        ("setup.py", "from setuptools import setup\n\nsetup(install_requires=['structlog>=24', 'other-thing'])\n"),
        (
            "setup.py",
            "from setuptools import setup\n\nREQ = ('structlog', 'other-thing')\nsetup(install_requires=REQ)\n",
        ),
        ("setup.py", "args = {}\nargs['install_requires'] = ['structlog ' + VERSION, f'other-thing>={VERSION}']\n"),
        ("setup.py", "more = ['other-thing']\nREQ = ['structlog'] + more\nsetup(install_requires=list(REQ))\n"),
        ("setup.py", "REQ = ['structlog>=%s' % V]\nREQ.append('other' + '-thing')\nsetup(install_requires=REQ)\n"),
        ("setup.py", "V = '>=1'\nargs = {'install_requires': ['structlog' + V, 'other-thing=={}'.format(V)]}\n"),
        (
            "setup.py",
            "REQ = []\nREQ += ('structlog', *MORE)\nREQ.extend(['other.thing'])\nsetup(install_requires=REQ)\n",
        ),
        ("requirements.txt", "structlog==24.1  # logging\nother-thing\n-r more.txt\n"),
        ("requirements/base.txt", "structlog\nother_thing\n"),
        ("Pipfile", "[packages]\nstructlog = '*'\nother-thing = '*'\n"),
    ],
)
def test_declared_packages_are_read(write_tree, name, text):
    """Every way to declare a package is read, and names are normalised."""
    assert declared(str(write_tree({name: text}))) == {"structlog", "other-thing"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\ndependencies = [\"structlog; python_version < '3.8'\"]\n"),
        ("pyproject.toml", "[project.optional-dependencies]\nlog = ['structlog']\n"),
        ("pyproject.toml", "[dependency-groups]\ndev = ['structlog']\n"),
        ("pyproject.toml", "[tool.poetry.dependencies]\nstructlog = {version='1', optional=true}\n"),
        ("pyproject.toml", "not toml ["),
        ("setup.cfg", "[options.extras_require]\nlog = structlog\n"),
        ("setup.py", "setup(extras_require={'log': ['structlog']})\n"),
        ("setup.py", "not python ("),
        ("setup.py", "REQ = []\nif OLD:\n    REQ.append('structlog')\nsetup(install_requires=REQ)\n"),
        ("setup.py", "setup(install_requires=['structlog' + SUFFIX, f'structlog{SUFFIX}', PREFIX + 'structlog'])\n"),
        ("setup.py", "setup(install_requires=['structlog'] if OLD else [], tests_require=['structlog'])\n"),
        ("setup.py", "REQ = REQ + ['structlog']\nsetup(install_requires=read('requirements/x.txt'))\n"),
        ("requirements-dev.txt", "structlog\n"),
        ("README", "structlog\n"),
    ],
)
def test_packages_that_may_be_absent_are_not_declared(write_tree, name, text):
    """Extras, groups, markers and files that can't be read declare nothing."""
    assert declared(str(write_tree({name: text}))) == set()


def test_script_metadata():
    """A script's own metadata block declares its packages (PEP 723)."""
    block = b"# /// script\n# requires-python = '>=3.11'\n# dependencies = [\n#   'loguru',\n# ]\n# ///\n"
    assert declared_in_script(b"#!/usr/bin/env python3\n" + block + b"import x\n") == {"loguru"}
    assert declared_in_script(block.replace(b"# ///\n", b"").replace(b"\n", b"\r\n")) == frozenset()
    assert declared_in_script(b"import x\n") == frozenset()


TREE = {
    "pyproject.toml": "[project]\nname = 'x'\ndependencies = ['structlog']\n",
    "src/pkg/__init__.py": "",
    "src/pkg/a.py": "import structlog\nfrom .b import *\n",
    "src/pkg/b.py": "import structlog\nimport logging\n",
    "src/pkg/sub/__init__.py": "from .. import *\n",
    "src/pkg/sub/c.py": "x = 1\n",
    "node_modules/y.py": "import logging\nimport logging\n",
}


def test_a_files_home(write_tree):
    """A file's dotted name starts below the folder that holds its top package."""
    root = write_tree(TREE)
    home = Home.of(str(root / "src/pkg/sub/c.py"))
    assert home.parts == ("pkg", "sub", "c")
    assert home.package == ("pkg", "sub")
    assert home.project.root == str(root)
    assert Home.of(str(root / "src/pkg/sub/__init__.py")).parts == ("pkg", "sub")
    assert "c" in Home.of(str(root / "src/pkg/sub/__init__.py")).submodules
    assert not home.submodules


def test_imports_find_the_projects_files(write_tree):
    """Absolute and relative imports are followed to the project's own files alone."""
    root = write_tree(TREE)
    home = Home.of(str(root / "src/pkg/sub/c.py"))
    assert home.find(2, "b") == str(root / "src/pkg/b.py")
    assert home.find(0, "pkg.b") == str(root / "src/pkg/b.py")
    assert home.find(1, None) == str(root / "src/pkg/sub/__init__.py")
    assert home.find(0, "logging") is None
    assert home.find(2, "missing") is None


def test_usage_and_stars(write_tree):
    """The project's imports are counted without the folders that are skipped, and star imports are noted."""
    root = write_tree(TREE)
    home = Home.of(str(root / "src/pkg/b.py"))
    assert home.project.usage["structlog"] == 2
    assert home.project.usage["stdlib"] == 1
    assert home.is_starred
    assert Home.of(str(root / "src/pkg/__init__.py")).is_starred
    assert not Home.of(str(root / "src/pkg/sub/c.py")).is_starred
    assert backends.auto_backend(home, Source(b"", home.filename), lambda module: None) == "structlog"


@pytest.mark.parametrize(
    ("files", "filename", "shadowed"),
    [
        ({"logging.py": ""}, "script.py", True),
        ({"logging/__init__.py": ""}, "script.py", True),
        ({"logging/data.txt": ""}, "script.py", False),
        ({"pkg/__init__.py": "", "pkg/logging.py": ""}, "pkg/mod.py", False),
        ({"pkg/__init__.py": "", "logging.py": ""}, "pkg/mod.py", True),
        ({"pyproject.toml": "", "src/logging.py": ""}, "tools/script.py", True),
        (
            {"os.py": "", "abc.py": "", "threading.py": "", "site.py": "", "logging/__init__.py": ""},
            "json/tool.py",
            False,
        ),
    ],
)
def test_modules_that_hide_others(write_tree, files, filename, shadowed):
    """A module named logging hides Python's own where an absolute import would find it first."""
    root = write_tree({**files, filename: ""})
    for cached in (project._entries, project._is_package, project._importable):
        cached.cache_clear()
    assert Home.of(str(root / filename)).shadows("logging") is shadowed


def test_namespace_packages(write_tree):
    """A folder without `__init__` that a file imports by name is a package, whose modules hide nothing."""
    root = write_tree({"space/logging/__init__.py": "", "space/mod.py": "", "pyproject.toml": ""})
    name = str(root / "space/mod.py")
    assert Home.of(name).shadows("logging")
    home = Home.of(name, b"import os\nfrom space.other import x\n")
    assert home.parts == ("space", "mod")
    assert not home.shadows("logging")


@pytest.mark.parametrize("backend", ["stdlib", "auto"])
def test_pythons_own_logging_needs_no_declaring(tmp_path, backend):
    """Only libraries from elsewhere must be declared."""
    from fixcases import everything

    assert backends.backend_problem(everything(backend=backend), str(tmp_path / "a.py")) is None
    assert "loguru" in (backends.backend_problem(everything(backend="loguru"), str(tmp_path / "a.py")) or "")


TWISTED = {
    "twisted/__init__.py": "",
    "twisted/logger/__init__.py": "from ._logger import Logger\n",
    "twisted/logger/_logger.py": "from twisted.python.failure import Failure\n\n\ndef f():\n    import twisted.lazy\n",
    "twisted/python/__init__.py": "",
    "twisted/python/failure.py": "",
    **{f"twisted/user{at}.py": "from twisted.python import failure, log\n" for at in range(3)},
}


@pytest.mark.parametrize(
    ("filename", "backend"),
    [
        ("twisted/python/failure.py", "stdlib"),
        ("twisted/logger/_logger.py", "stdlib"),
        ("twisted/lazy.py", "twisted"),
        ("twisted/mail.py", "twisted"),
    ],
)
def test_a_library_logs_by_itself_but_where_its_logging_imports_the_file(write_tree, filename, backend):
    """A file that the library's own logging imports, however indirectly, can't import that; any other file can."""
    root = write_tree({"setup.py": "", "twisted/mail.py": "", "twisted/lazy.py": "", **TWISTED})
    path = root / filename
    module = Module(path.read_bytes() + b"\nx = 1\n", str(path), everything())
    assert module.new_backend == backend


@pytest.mark.parametrize("users", [2, 3])
def test_what_most_files_import_is_there(write_tree, users):
    """A library that no file declares is used where three files import it, and more than use any other."""
    files = {f"user{at}.py": "from loguru import logger\n" for at in range(users)}
    root = write_tree({"setup.py": "", "a.py": "import logging\n", "b.py": "", **files})
    module = Module(b"x = 1\n", str(root / "b.py"), everything())
    assert module.new_backend == ("loguru" if users == 3 else "stdlib")


def test_the_logger_that_is_used_most_is_taken(write_tree):
    """Of several imported loggers that most used in the module comes first, whatever its name."""
    logs = "import logging\n\naccess, general = 1, 2\nlog = logging.getLogger('a')\ngen = logging.getLogger('b')\n"
    text = "from log import log, gen\n\n\ndef f():\n    log.info('x')\n    gen.error('y')\n    gen.warning('z')\n"
    root = write_tree({"setup.py": "", "log.py": logs, "web.py": text})
    module = Module(text.encode(), str(root / "web.py"), everything())
    assert [logger.name for logger in module.loggers.all] == ["gen", "log"]
    swapped = text.replace("gen.e", "log.e").replace("gen.w", "log.w").replace("log.i", "gen.i").encode()
    assert [logger.name for logger in Module(swapped, str(root / "web.py"), everything()).loggers.all] == ["log", "gen"]


WRAPPERS = {
    "plain": ("def get(name):\n    return logging.getLogger(name)\n", "stdlib"),
    "stored": ("def get(name):\n    found = logging.getLogger(name)\n    return found\n", "stdlib"),
    "chosen": (
        "def get(name):\n    if name:\n        return logging.getLogger(name)\n    return logging.getLogger()\n",
        "stdlib",
    ),
    "handed through": (
        "def use(parent, child):\n    child.parent = parent\n    return child\n\n\n"
        "def get(name):\n    made = logging.getLogger(name)\n    if name:\n        made = use(None, made)\n    return made\n",
        "stdlib",
    ),
    "of another kind": ("def get(name):\n    return Logger(name)\n", None),
    "one way out without": ("def get(name):\n    if name:\n        return logging.getLogger(name)\n", None),
    "none on one way": (
        "def get(name):\n    if not name:\n        return None\n    return logging.getLogger(name)\n",
        None,
    ),
    "local of the same name": ("def get(logging):\n    return logging.getLogger('x')\n", None),
    "unknown argument": ("def get(name):\n    return name\n", None),
    "two values": (
        "def get(name):\n    found = logging.getLogger(name)\n    if name:\n        found = name\n    return found\n",
        None,
    ),
    "decorated": ("@wrap\ndef get(name):\n    return logging.getLogger(name)\n", None),
    "endless": ("def get(name):\n    return get(name)\n", None),
}


@pytest.mark.parametrize(("wrapper", "backend"), WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize(
    "head",
    [
        "from pkg.log import get\n\nown = get(__name__)\n",
        "from .log import get as make\n\nown = make('x')\n",
        "from . import log\n\nown = log.get('x')\n",
    ],
)
def test_a_function_that_gives_loggers_is_followed(write_tree, wrapper, backend, head):
    """A logger made by a function of the project counts where every way out of that returns a known one."""
    root = write_tree({"pkg/__init__.py": "", "pkg/log.py": "import logging\n\n\n" + wrapper, "pkg/a.py": head})
    module = Module(head.encode(), str(root / "pkg/a.py"), everything())
    assert module.loggers.backend_of("own") == backend
