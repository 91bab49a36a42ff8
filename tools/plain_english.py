"""Find phrases that plain English says otherwise: `python tools/plain_english.py [FILE ...]`, part of `make lint`.

It reads what people read: prose of Markdown without code, docstrings, comments and texts of Python, and pages, comments
and help of other files. `plain_english.toml` has the glossary. It prints `file:line: phrase: write ...` and ends with 1
if it found any. It needs the standard library only.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = Path(__file__).with_suffix(".toml")
SUFFIXES = (".md", ".py", ".html", ".js", ".css", ".yaml", ".yml", ".in", ".tf", ".toml", "Makefile", "Dockerfile")
NOT_OURS = ("tests/", "tools/plain_english")
"""Tests quote messages of others, and the glossary quotes itself."""


@dataclass(frozen=True)
class Rule:
    """A phrase to avoid, what to write instead, a text that the rule finds, and texts that it leaves alone."""

    pattern: re.Pattern[str]
    write: str
    finds: str
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A phrase to avoid in a text: its line, counted from 1, the phrase, and its rule."""

    line: int
    phrase: str
    rule: Rule


def glossary(path: Path = GLOSSARY) -> list[Rule]:
    """The rules of the glossary file."""
    rules = tomllib.loads(path.read_text(encoding="utf-8"))["rule"]
    return [
        Rule(_across_lines(rule["pattern"]), rule["write"], rule["finds"], tuple(rule.get("leaves", ())))
        for rule in rules
    ]


def check(name: str, text: str, rules: Sequence[Rule]) -> Iterator[Found]:
    """Every phrase to avoid in the prose of a file, by its name's ending."""
    prose = PROSE.get(Path(name).suffix, str)(text)
    for rule in rules:
        for match in rule.pattern.finditer(prose):
            line = prose.count("\n", 0, match.start()) + 1
            yield Found(line, " ".join(match.group().replace("#", " ").split()), rule)


def _across_lines(pattern: str) -> re.Pattern[str]:
    """A rule's pattern, in which a space may be a line's end, with a comment sign on the next line."""
    between = r"(?:[^\\S\\n]+|[^\\S\\n]*\\n[^\\S\\n]*(?:#[^\\S\\n]*)?)"
    return re.compile(re.sub(r"(?<!\(\?<!there)(?<!\(\?<!There)(?<!\(\?<!the) ", between, pattern), re.IGNORECASE)


def _of_markdown(text: str) -> str:
    """The prose of a page on its lines: without blocks and spans of code, and addresses of links."""
    for pattern in (r"```.*?```", r"^(?: {4,}|\t)\S.*$", r"`[^`\n]+`", r"\]\([^)]*\)"):
        text = re.sub(pattern, _blank, text, flags=re.DOTALL | re.MULTILINE if "```" in pattern else re.MULTILINE)
    return text


def _of_page(text: str) -> str:
    """A page's text on its lines: without tags, and what a template fills in."""
    return re.sub(r"<[^>]*>|\{[{%#].*?[}%#]\}", _blank, text, flags=re.DOTALL)


def _of_script(text: str) -> str:
    """The comments and texts of a browser's script on its lines."""
    plain = re.sub(r"\$\{[^}]*\}", _blank, text)
    parts = re.split(r"(//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"|`[^`]*`)", plain, flags=re.DOTALL)
    return "".join(part if number % 2 else re.sub(r"[^\n]", " ", part) for number, part in enumerate(parts))


def _of_python(text: str) -> str:
    """The comments and texts of a module on their lines; spans of code in them, and all else, are blank."""
    kept = [" " * len(line) for line in text.split("\n")]
    for (row, column), written in _comments_and_literals(text):
        for number, line in enumerate(written.split("\n")):
            at = column if number == 0 else 0
            blank = kept[row - 1 + number]
            kept[row - 1 + number] = blank[:at] + line + blank[at + len(line) :]
    joined = re.sub(
        r"\"[^\S\n]*\n[^\S\n]*[rf]{0,2}\"", lambda ends: re.sub(r"[^\n]", " ", ends.group()), "\n".join(kept)
    )
    return re.sub(r"`[^`\n]+`|\{[^{}\n]*\}", _blank, joined)


def _comments_and_literals(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Where the comments and texts of a module begin (line from 1, column from 0), and how they are written.

    Since Python 3.12 an f-string is many tokens: its text is what stands from the first to the last of them.
    """
    lines = text.splitlines(keepends=True)
    begun: list[tuple[int, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            begun.append(token.start)
        row, column = begun.pop() if kind == "FSTRING_END" else token.start
        if begun or kind not in ("COMMENT", "STRING", "FSTRING_END"):
            continue
        last, end = token.end
        written = "".join([*lines[row - 1 : last - 1], lines[last - 1][:end]])[column:]
        if kind == "COMMENT" or _is_prose(written):
            yield (row, column), written


PROSE = {".md": _of_markdown, ".py": _of_python, ".html": _of_page, ".js": _of_script}


def _is_prose(literal: str) -> bool:
    """Whether a text has words; a pattern, a path or a key has none."""
    try:
        value = ast.literal_eval(literal)
    except (SyntaxError, ValueError):  # an f-string
        value = literal
    return isinstance(value, str) and " " in value


def _blank(match: re.Match[str]) -> str:
    """Something that no phrase goes through, of the same lines."""
    return re.sub(r"[^\n]", "\N{SECTION SIGN}", match.group())


def files() -> list[str]:
    """The files of the project that hold text of ours, by their paths in it."""
    found = []
    for folder, names, inside in os.walk(ROOT):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__")
        found += [Path(folder, name).relative_to(ROOT).as_posix() for name in sorted(inside) if name.endswith(SUFFIXES)]
    return [name for name in found if not name.startswith(NOT_OURS)]


def main(names: Sequence[str]) -> int:
    """Check the files named, or all; the exit status is 1 if there is a phrase to avoid."""
    rules, count = glossary(), 0
    for name in names or files():
        path = ROOT / name
        if not path.is_file():
            continue
        for found in sorted(check(name, path.read_text(encoding="utf-8"), rules), key=lambda found: found.line):
            print(f"{name}:{found.line}: {found.phrase!r}: write: {found.rule.write}")
            count += 1
    print(f"Plain English: {count} phrases to change." if count else "Plain English: nothing to change.")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
