from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from include.pages import Markup, WebPages, joined, link, listed, note, page, section, shown, table
from tests.unit.pages.reading import ReadPage

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>$title"


def test_whatever_comes_from_outside_is_escaped_wherever_it_stands() -> None:
    body = joined((note(ATTACK), table((ATTACK,), [(ATTACK,)], best=ATTACK), listed([(ATTACK, ATTACK)]), ATTACK))
    made = page(title=ATTACK, lead=ATTACK, figures=[(ATTACK, ATTACK)], sections=[section(ATTACK, body)])
    read = ReadPage(made)
    assert not {"script", "img"} & set(read.tags)
    assert read.handlers == []
    assert read.text.count(ATTACK) == 12


def test_finished_markup_stays_as_it_is() -> None:
    assert table(("a",), [(Markup("<b>1</b>"),)]).count("<b>1</b>") == 1
    assert shown(shown("<")) == "&lt;"


def test_control_characters_of_a_key_are_seen() -> None:
    assert shown("a\tb\nc\x00") == r"a\tb\nc\x00"
    assert shown("\u202egpj.exe") == r"\u202egpj.exe"


def test_a_link_leads_to_the_web_and_its_text_and_address_are_escaped() -> None:
    read = ReadPage(page(title="t", lead="", figures=[], sections=[link(ATTACK, f"https://a/{ATTACK}")]))
    assert read.addresses == [f"https://a/{ATTACK}"]
    assert (read.handlers, {"script", "img"} & set(read.tags)) == ([], set())
    for address in ("", "javascript:alert(1)", "s3://models/report.html"):
        assert link("report", address) == "report"


def test_an_address_in_s3_leads_to_the_page_that_is_known_of_it() -> None:
    pages = WebPages(stored=lambda uri: uri.replace("s3://", "https://console/"))
    assert 'href="https://console/b/a.html"' in pages.linked("s3://b/a.html")
    assert (pages.linked("pets version 5"), WebPages().linked("s3://b/a.html")) == ("pets version 5", "s3://b/a.html")


def test_what_has_nothing_to_show_is_left_out() -> None:
    assert section("Bad images") == section("Bad images", Markup()) == listed([("Parent", "")]) == ""
    assert "<b>" not in page(title="t", lead="", figures=[("", "top 5")], sections=[])


@given(st.text())
def test_any_text_keeps_a_page_whole(text: str) -> None:
    read = ReadPage(page(title=text, lead=text, figures=[], sections=[section(text, table((text,), [(text,)]))]))
    plain = ReadPage(page(title="t", lead="l", figures=[], sections=[section("s", table(("h",), [("c",)]))]))
    assert read.tags == plain.tags


def test_a_page_loads_nothing() -> None:
    made = page(title="t", lead="l", figures=[], sections=[])
    assert ReadPage(made).addresses == []
    assert "default-src 'none'" in made
    assert "url(" not in made and "@import" not in made
