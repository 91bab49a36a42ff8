"""The message about a run, outside of Airflow: a subject, a readable text with links, and how SNS takes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Occasion = Literal["promoted", "refused", "awaiting approval", "failed", "rolled back", "worse", "late"]
"""Why people are notified; an attribute of the message, by which a subscription can filter."""
LONGEST_SUBJECT = 100
"""Characters of an SNS message's subject, of which each has to be ASCII and printable (API reference of Publish)."""


@dataclass(frozen=True)
class Notice:
    """One message: what happened in a sentence, what more there is to say, and where to read on.

    `links` are names and addresses; those without an address are left out.
    """

    occasion: Occasion
    sentence: str
    lines: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()

    @property
    def subject(self) -> str:
        """The occasion and the sentence, in one line."""
        return f"[{self.occasion}] {' '.join(self.sentence.split())}"

    @property
    def text(self) -> str:
        """All of it, as a person reads it."""
        told = [f"{name}: {address}" for name, address in self.links if address]
        return "\n".join([self.sentence, *([""] if self.lines else []), *self.lines, *([""] if told else []), *told])


def publish(sns: Any, topic: str, notice: Notice) -> None:
    """Publish a notice to a topic, with the boto3 client of SNS."""
    sns.publish(
        TopicArn=topic,
        Subject=ascii_subject(notice.subject),
        Message=notice.text,
        MessageAttributes={"occasion": {"DataType": "String", "StringValue": notice.occasion}},
    )


def ascii_subject(subject: str) -> str:
    """A subject as SNS takes it: what is not ASCII loses its accents or becomes a question mark."""
    plain = unicodedata.normalize("NFKD", subject)
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in letters)
    return printable if len(printable) <= LONGEST_SUBJECT else f"{printable[: LONGEST_SUBJECT - 3]}..."
