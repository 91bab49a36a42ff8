from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from include.recordio.options import ImageOptions


class Document(BaseModel):
    packing: ImageOptions


def test_a_document_holds_every_option() -> None:
    options = ImageOptions(resize=256, quality=80, encoding=".png", fast_decode=True, minimum_side=32)
    assert Document.model_validate_json(Document(packing=options).model_dump_json()).packing == options
    assert Document(packing=options).model_dump()["packing"] == options.as_dict()


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": -1},
        {"minimum_side": -1},
        {"quality": 101},
        {"color": 2},
        {"encoding": ".gif"},
        {"fast_decode": True},
        {"size": 256},
        {"resize": "large"},
    ],
)
def test_a_document_with_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Document.model_validate({"packing": wrong})
