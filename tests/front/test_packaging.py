from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import pytest

IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".*cache*")


@pytest.fixture(scope="module")
def project(request):
    """The parsed pyproject.toml."""
    return tomllib.loads((request.config.rootpath / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rooms(request, project):
    """The folders that are mapped onto packages: package name -> folder."""
    mapped = project["tool"]["setuptools"]["package-dir"]
    return {name: request.config.rootpath / folder for name, folder in mapped.items()}


@pytest.fixture(scope="module")
def files(rooms):
    """Every file that must be shipped, named as in site-packages."""
    return {
        f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}"
        for package, folder in rooms.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def build(request, rooms, tmp_path_factory):
    """Builds a wheel ("wheel" or "editable") of a copy of the project and returns (wheel, copy)."""
    root = request.config.rootpath

    def run(kind: str):
        copy = tmp_path_factory.mktemp(kind) / "project"
        copy.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(root / name, copy / name)
        for folder in {path.relative_to(root).parts[0] for path in rooms.values()}:
            shutil.copytree(root / folder, copy / folder, ignore=IGNORED)
        script = f"import setuptools.build_meta as backend; backend.build_{kind}('out')"
        (copy / "out").mkdir()
        subprocess.run([sys.executable, "-c", script], cwd=copy, check=True, capture_output=True)
        return next((copy / "out").glob("*.whl")), copy

    return run


@pytest.fixture(scope="module")
def wheel_names(build):
    """The names of the files in the built wheel."""
    wheel, _ = build("wheel")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_folder_of_modules_is_listed(project, rooms):
    """A folder with modules that is missing from `packages` would be missing from what users install."""
    found = {
        ".".join((package, *path.parent.relative_to(folder).parts))
        for package, folder in rooms.items()
        for path in folder.rglob("*.py")
    }
    assert found == set(project["tool"]["setuptools"]["packages"])


def test_wheel_holds_every_file(wheel_names, files):
    """Each module and data file of the rooms is in the wheel."""
    assert len(files) > 40
    assert files <= wheel_names


def test_nothing_but_unhush_lands_in_site_packages(wheel_names):
    """The wheel adds one package and its metadata; the room's folder names do not leak out."""
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"unhush"}
    assert {name for name in wheel_names if name.startswith("unhush/")} == {
        name for name in wheel_names if ".dist-info/" not in name
    }


def test_wheel_carries_licence_and_command(wheel_names):
    """The licence and the entry point of the command are part of the wheel."""
    endings = {name.partition(".dist-info/")[2] for name in wheel_names}
    assert {"licenses/LICENSE", "entry_points.txt"} <= endings


def test_editable_install_finds_every_module(build, files, tmp_path):
    """In an editable install each module is found in the working tree, and only `unhush` is importable."""
    wheel, copy = build("editable")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = next((tmp_path / "venv").glob("[bS][ic][nr]*/python*"))
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True
    )
    zipfile.ZipFile(wheel).extractall(site.stdout.decode().strip())
    modules = sorted(name[:-3].replace("/", ".").removesuffix(".__init__") for name in files if name.endswith(".py"))
    script = (
        "import sys; from importlib.util import find_spec\n"
        f"sys.path.append({sysconfig.get_path('purelib')!r})\n"  # where a package's own imports are
        f"for name in {modules}:\n"
        "    print(find_spec(name).origin)\n"
        "print(find_spec('codemods'), find_spec('reports'))\n"
    )
    # -I keeps the working directory, where the rooms' folders are, off the path
    result = subprocess.run([python, "-I", "-c", script], check=True, capture_output=True, cwd=tmp_path)
    *origins, others = result.stdout.decode().split("\n")[:-1]
    assert others == "None None"
    assert len(origins) == len(modules)
    assert all(str(copy) in origin for origin in origins)
