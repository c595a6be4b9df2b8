"""Programs made at random from a seed: modules full of handlers, for laws that run them before and after the fix."""

from __future__ import annotations

from random import Random

TYPES = (
    "",
    " Exception",
    " BaseException",
    " ValueError",
    " (ValueError, OSError)",
    " (KeyError, Exception) as error",
    " OSError as logger",
)
IN, LATE = "\x01", "\x02"
Lines = list[str]


def program(seed: int, size: int) -> bytes:
    """A module of about `size` nested statements: imports, a logger somewhere or nowhere, functions, early calls.

    It calls `note(n)`, `boom(n)`, `flag(n)` and `keep(function)`, which whoever runs it provides.
    """
    return _Maker(Random(seed), size).module()


def _indented(lines: Lines) -> Lines:
    """Lines one step further in; the step is chosen when the text is put together."""
    return [f"{IN}{line}" for line in lines]


class _Maker:
    """Makes one program; `left` is how many more statements may be nested."""

    def __init__(self, random: Random, size: int) -> None:
        self.random, self.left = random, size

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def simple(self, loop: bool) -> str:
        number = self.random.randrange(10)
        choices = [f"note({number})", f"boom({number})", f"boom({number})", f"x = {number}", f"return {number}"]
        choices += ["...", "'words'", "pass", "pass", *(["continue", "break"] if loop else [])]
        return self.random.choice(choices)

    def block(self, loop: bool) -> Lines:
        return [line for _ in range(self.random.randint(1, 3)) for line in self.statement(loop)]

    def handler(self, types: str, loop: bool) -> Lines:
        comment = self.random.choice(["", "", "  # why", " "])
        header = f"except{types}:"
        if self.chance(25):
            return [f"{header} {self.simple(loop)}{comment}"]
        if self.chance(25):
            return [header + comment, *_indented(self.block(loop))]
        body = ["# first"] if self.chance(30) else []
        body += [LATE, ""] if self.chance(20) else []
        return [header + comment, *_indented([*body, self.simple(loop) + comment])]

    def try_(self, loop: bool) -> Lines:
        types = sorted((self.random.choice(TYPES) for _ in range(self.random.randint(1, 2))), reverse=True)
        lines = ["try:", *_indented(self.block(loop))]
        for kind in dict.fromkeys(types):
            lines += self.handler(kind, loop)
        if self.chance(25):
            lines += ["else:", *_indented(self.block(loop))]
        if self.chance(25):
            lines += ["finally:", *_indented([f"note({self.random.randint(10, 19)})"])]
        return lines

    def statement(self, loop: bool) -> Lines:
        if self.left <= 0:
            return [self.simple(loop)]
        self.left -= 1
        kind = self.random.choice(["simple", "simple", "try", "try", "try", "if", "for", "suppress", "def", "class"])
        if kind == "try":
            return self.try_(loop)
        if kind == "if":
            return [f"if flag({self.random.randrange(10)}):", *_indented(self.block(loop))]
        if kind == "for":
            return ["for turn in range(2):", *_indented(self.block(True))]
        if kind == "suppress":
            types = self.random.choice(["Exception", "BaseException", "ValueError, OSError", "OSError,"])
            return [f"with suppress({types}):", *_indented(self.block(loop))]
        if kind == "def":
            name = self.random.choice(["inner", "logger", "helper"])
            parameter = self.random.choice(["", "logger=1", "log=2"])
            return [f"def {name}({parameter}):", *_indented(self.block(False)), f"x = {name}()"]
        if kind == "class":
            method = ["def method(self):", *_indented(self.block(False))]
            return ["class Local:", *_indented(method), "x = Local().method()"]
        return [self.simple(loop)]

    def functions(self) -> list[Lines]:
        found: list[Lines] = []
        for number in range(self.random.randint(1, 3)):
            parameter = self.random.choice(["", "", "log=3", "logger=None"])
            head = ["@keep"] if self.chance(20) else []
            text = self.random.choice([[], [], ['"""Doc."""'], ["global x"]])
            found.append([*head, f"def f{number}({parameter}):", *_indented(text + self.block(False)), "", ""])
            if self.chance(25):
                found.append(
                    ["try:", *_indented([f"boom(f{number}())"]), "except BaseException:", *_indented(["x = 99"])]
                )
        return found

    def module(self) -> bytes:
        parts = self.functions()
        own = self.random.choice(["", "logger = logging.getLogger(__name__)", "log = logging.getLogger('a')"])
        if own:
            parts.insert(self.random.randint(0, len(parts)), [own])
        imports = ["import logging", "from contextlib import suppress", "import os"]
        self.random.shuffle(imports)
        future = ['"""Doc."""', "from __future__ import annotations"]
        head = self.random.choice([[], ['"""Doc."""'], future, ["# about"]])
        lines = [*head, *imports, "", *(line for part in parts for line in part)]
        step = self.random.choice(["    ", "  ", "\t"])
        newline = self.random.choice(["\n", "\n", "\r\n", "\r"])
        text = newline.join(line.replace(IN, step).replace(LATE, "# c") for line in lines)
        text += self.random.choice([newline, ""])
        return self.random.choice([b"", b"", b"\xef\xbb\xbf"]) + text.encode()
