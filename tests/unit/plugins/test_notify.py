from __future__ import annotations

import pytest

from image_classification.notify import Notice, ascii_subject
from include.settings import Settings, SettingsError
from tests.support.documents import VARIABLE

TOPIC = "arn:aws:sns:eu-central-1:123456789012:people"


def test_a_message_has_the_sentence_then_more_then_links() -> None:
    told = Notice("promoted", "digits v5: serving", ["Dataset digits."], [("Report", "https://x/r"), ("Run", "")])
    assert told.subject == "[promoted] digits v5: serving"
    assert told.text == "digits v5: serving\n\nDataset digits.\n\nReport: https://x/r"
    assert Notice("failed", "digits failed").text == "digits failed"


def test_a_subject_is_one_short_line_of_ascii_as_sns_wants_it() -> None:
    assert ascii_subject("[refused] Vögel\u00a0v5: 97 %") == "[refused] Vogel v5: 97 %"
    assert ascii_subject("日本 v5") == "?? v5"
    assert Notice("worse", "two\nlines").subject == "[worse] two lines"
    long = ascii_subject("x" * 200)
    assert (len(long), long[-3:]) == (100, "...")


@pytest.mark.parametrize("value", ["", TOPIC, "airflow.providers.amazon.aws.notifications.ses.SesNotifier"])
def test_the_setting_is_a_topic_or_the_path_of_a_notifier(value: str) -> None:
    assert Settings.from_variable({**VARIABLE, "notify": value}).notify == value


@pytest.mark.parametrize("value", ["people@acme.com", "arn:aws:sqs:eu-central-1:123456789012:people", "Notifier"])
def test_another_value_says_what_is_wanted(value: str) -> None:
    with pytest.raises(SettingsError, match=r"notify = .*must look like arn:aws:sns:eu-central-1:123456789012:image"):
        Settings.from_variable({**VARIABLE, "notify": value})
