"""What a page is made of: its frame, sections, figures, tables. Whatever is not Markup is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from include.problems import is_web_address

_FRAME = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))

_TURNING = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = {code: ascii(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), *_TURNING)}
"""S3 keys may hold control characters, and some that turn the text around them: a reader has to see them."""


class Markup(str):
    """HTML that is finished: everything from outside in it is escaped."""

    __slots__ = ()


def plain(text: str) -> str:
    """Text in one line, control characters visible."""
    return text.translate(_VISIBLE)


def shown(text: str) -> Markup:
    """Text as HTML: escaped, in one line, control characters visible; Markup stays as it is."""
    return text if isinstance(text, Markup) else Markup(escape(plain(text)))


def link(text: str, address: str) -> Markup:
    """A text that leads to a web page; the text alone if the address is not one of the web."""
    if not is_web_address(address):
        return shown(text)
    return Markup(f'<a href="{escape(address.translate(_VISIBLE))}" rel="noreferrer">{shown(text)}</a>')


def _no_page(_: str) -> str:
    return ""


@dataclass(frozen=True)
class WebPages:
    """Web pages that a page links to; where an address is empty, there is no link.

    `run` is the address of the run's page in Airflow, `job` finds that of a training job, `stored` that of an object
    or a folder in S3.
    """

    run: str = ""
    job: Callable[[str], str] = _no_page
    stored: Callable[[str], str] = _no_page

    def linked(self, text: str) -> Markup:
        """A text that leads to its page if it is an address in S3."""
        return link(text, self.stored(text)) if text.startswith("s3://") else shown(text)


NO_PAGES = WebPages()


def joined(parts: Iterable[str]) -> Markup:
    """Pieces one after the other."""
    return Markup("".join(shown(part) for part in parts))


def page(
    *,
    title: str,
    lead: str,
    figures: Iterable[tuple[str, str]],
    sections: Iterable[Markup],
    banner: Markup | None = None,
) -> str:
    """A whole page: a title, a sentence below it, a banner, (value, name) pairs in large type, then the sections.

    Figures without a value are left out.
    """
    tiles = joined(
        Markup(f"<div><b>{shown(value)}</b><span>{shown(name)}</span></div>") for value, name in figures if value
    )
    return _FRAME.substitute(
        title=shown(title), lead=shown(lead), banner=banner or "", figures=tiles, sections=joined(sections)
    )


def section(title: str, *bodies: Markup) -> Markup:
    """A titled part of a page; nothing if it has no body."""
    body = joined(bodies)
    return Markup(f"<section><h2>{shown(title)}</h2>{body}</section>") if body else Markup()


def verdict(text: str, *, accepted: bool, words: tuple[str, str] = ("Accepted", "Refused")) -> Markup:
    """What was decided, and why, where it is seen first; `words` are for the good and the bad case."""
    kind, word = ("verdict accepted", words[0]) if accepted else ("verdict", words[1])
    return Markup(f'<p class="{kind}"><b>{word}</b>{shown(text)}</p>')


def note(text: str) -> Markup:
    """A remark in small type."""
    return Markup(f"<p class=note>{shown(text)}</p>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, best: str = "", kind: str = "") -> Markup:
    """A table; the row that begins with `best` stands out. `kind` is a class of the page's styles.

    Long tables scroll within themselves, below their head. On a phone each row of the kind `jobs` is a list of its own.
    """
    names = [title.replace("<wbr>", "") for title in map(shown, head)]
    columns = joined(Markup(f'<th scope="col">{shown(title)}</th>') for title in head)
    labels = names if kind == "jobs" else []
    body = joined(_row(row, labels, marked=bool(best) and row[0] == best) for row in rows)
    styles = f" class={kind}" if kind else ""
    return scrolled(
        Markup(f"Table of {', '.join(filter(None, names))}"),
        Markup(f"<table{styles}><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"),
    )


def scrolled(name: str, body: Markup) -> Markup:
    """What scrolls within itself, also with the keyboard; `name` is what a screen reader calls it."""
    return Markup(f'<div class="scroll" tabindex="0" role="group" aria-label="{shown(name)}">{body}</div>')


def listed(names: Iterable[tuple[str, str]]) -> Markup:
    """Names and what they stand for, one per line; those that stand for nothing are left out."""
    lines = joined(Markup(f"<dt>{shown(name)}</dt><dd>{shown(value)}</dd>") for name, value in names if value)
    return Markup(f"<dl>{lines}</dl>") if lines else Markup()


def _row(cells: Sequence[str], names: Sequence[str], *, marked: bool) -> Markup:
    labels = [f' data-name="{name}"' for name in names] or [""] * len(cells)
    row = joined(Markup(f"<td{label}>{shown(cell)}</td>") for label, cell in zip(labels, cells, strict=True))
    return Markup(f"<tr{' class=best' if marked else ''}>{row}</tr>")
