from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from include.clean_up import CleanUpConf, CleanUpConfError
from include.run_conf import RunConf, RunConfError
from include.run_conf.fields import known_fields, section_names
from include.run_conf.meaning import FIELDS_BY_OTHER_NAMES
from include.settings import Settings, SettingsError
from tests.fuzz.bounds import WIDE, damaged, fuzz, within
from tests.support.documents import settings

FIELDS = [*(field.name for field in known_fields(RunConf)), *section_names(RunConf)]
OTHER_NAMES = [name for names in FIELDS_BY_OTHER_NAMES.values() for name in names.split()]
VALID = json.dumps(RunConf().model_dump(mode="json")).encode()
SETTINGS = settings().model_dump_json().encode()
ODD_TEXTS = (
    "10, 20",
    "[]0",
    "[" * 5000,
    '{"a":' * 5000,
    '["a"]\nb',
    "(3, 2",
    "\ud800",
    "\ufeffcat\r\ndog",
    "NaN",
    "1e999",
    "9" * 5000,
    "http://[bad/x.zip",
    "https://h:99999/a.zip",
    "ml.g4dn.xlrage",
    "28x28",
    '"' * 1000,
    "\x00",
    "," * 1000,
    "s3://b/" + "x" * 100_000,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([*WIDE, 10**4000, -(10**400), nested(150)])
    | st.sampled_from(ODD_TEXTS)
    | st.text(max_size=40)
    | st.text(st.characters(), max_size=10)
)
names = st.sampled_from(FIELDS) | st.sampled_from(OTHER_NAMES) | st.text(st.characters(), max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
ranges = st.fixed_dictionaries({"min": scalars, "max": scalars})
confs = st.dictionaries(names, values, max_size=6) | st.fixed_dictionaries(
    {"training.mode": st.just("tune")},
    optional={
        "tuning.ranges": st.dictionaries(names, ranges | values, max_size=3),
        "training.hyperparameters.lr_scheduler_step": values,
        "training.hyperparameters.image_shape": values,
        "training.trials": st.lists(st.dictionaries(names, values, max_size=3), max_size=3),
    },
)


def hold(conf: Any) -> None:
    """A conf is read whole and reads the same again, or is refused in lines that every log can show."""
    with within(seconds=2, megabytes=100):
        try:
            read = RunConf.from_conf(conf)
        except RunConfError as error:
            assert error.problems
            assert all(len(line) < 1000 for line in str(error).splitlines()), str(error)
            str(error).encode()
            RunConf.read(conf)[0].model_dump_json()
        else:
            assert RunConf.from_conf(json.loads(json.dumps(read.model_dump(mode="json"), allow_nan=False))) == read


@fuzz
@given(conf=confs)
def test_only_a_run_conf_error_comes_out_of_any_document(conf: dict[str, Any]) -> None:
    hold(conf)


@fuzz
@given(body=damaged(VALID))
def test_only_a_run_conf_error_comes_out_of_damaged_json(body: bytes) -> None:
    try:
        conf = json.loads(body)
    except (ValueError, RecursionError):
        return  # Airflow refuses what is not JSON
    if isinstance(conf, dict):
        hold(conf)


@fuzz
@given(conf=st.dictionaries(st.sampled_from(list(CleanUpConf.model_fields)) | names, values, max_size=4))
def test_only_its_own_error_comes_out_of_a_clean_ups_conf(conf: dict[str, Any]) -> None:
    with within(seconds=1, megabytes=50):
        try:
            CleanUpConf.from_conf(conf)
        except CleanUpConfError as error:
            str(error).encode()


@fuzz
@given(
    value=damaged(SETTINGS).map(lambda body: body.decode(errors="surrogateescape"))
    | st.sampled_from(ODD_TEXTS)
    | st.dictionaries(st.sampled_from(list(Settings.model_fields)), values, max_size=5)
)
def test_only_a_settings_error_comes_out_of_the_variable(value: Any) -> None:
    with within(seconds=1, megabytes=50):
        try:
            Settings.from_variable(value)
        except SettingsError as error:
            str(error).encode()
