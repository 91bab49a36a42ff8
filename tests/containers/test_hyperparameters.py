from __future__ import annotations

import pytest

from containers.image_classification.hyperparameter_table import NAMES
from containers.image_classification.hyperparameters import Hyperparameters, read_hyperparameters
from containers.image_classification.problems import CustomerError

SMALL = {"num_classes": "10", "num_training_samples": "100", "num_layers": "20", "image_shape": "3,28,28"}


def problems(**changes: object) -> str:
    return "; ".join(read_hyperparameters({**SMALL, **changes}).problems)


def read(**changes: object) -> Hyperparameters:
    return read_hyperparameters({**SMALL, **changes}).hyperparameters()


def test_defaults_are_those_of_the_documented_table() -> None:
    chosen = read_hyperparameters({"num_classes": "2", "num_training_samples": "9"}).hyperparameters()
    assert chosen == Hyperparameters(
        num_classes=2,
        num_training_samples=9,
        augmentation_type=None,
        beta_1=0.9,
        beta_2=0.999,
        checkpoint_frequency=None,
        early_stopping=False,
        early_stopping_min_epochs=10,
        early_stopping_patience=5,
        early_stopping_tolerance=0.0,
        epochs=30,
        eps=1e-8,
        gamma=0.9,
        image_shape=(3, 224, 224),
        kv_store=None,
        learning_rate=0.1,
        lr_scheduler_factor=0.1,
        lr_scheduler_step=None,
        mini_batch_size=32,
        momentum=0.9,
        multi_label=False,
        num_layers=152,
        optimizer="sgd",
        precision_dtype="float32",
        resize=None,
        top_k=None,
        use_pretrained_model=False,
        use_weighted_loss=False,
        weight_decay=0.0001,
    )


FRACTIONS = (
    "beta_1",
    "beta_2",
    "early_stopping_tolerance",
    "eps",
    "gamma",
    "learning_rate",
    "lr_scheduler_factor",
    "momentum",
    "weight_decay",
)


@pytest.mark.parametrize("name", FRACTIONS)
def test_fractions_reach_from_zero_to_one(name: str) -> None:
    assert getattr(read(**{name: "0"}), name) == 0.0
    assert getattr(read(**{name: "1"}), name) == 1.0
    for outside in ("-0.001", "1.001", "nan", "inf", "much", ""):
        assert f"{name}={outside!r} must be a number from 0 to 1" in problems(**{name: outside})


COUNTS = {
    "num_classes": 1,
    "num_training_samples": 1,
    "early_stopping_min_epochs": 1,
    "early_stopping_patience": 1,
    "epochs": 1,
    "mini_batch_size": 1,
    "resize": 1,
    "checkpoint_frequency": 1,
    "top_k": 2,
}


@pytest.mark.parametrize(("name", "least"), COUNTS.items())
def test_whole_numbers_start_at_their_minimum(name: str, least: int) -> None:
    assert getattr(read(**{name: str(least)}), name) == least
    for outside in (str(least - 1), "-5", "2.5", "two"):
        assert f"{name}={outside!r} must be an integer of at least {least}" in problems(**{name: outside})


CHOICES = {
    "augmentation_type": ("crop", "crop_color", "crop_color_transform"),
    "kv_store": ("dist_sync", "dist_async"),
    "optimizer": ("sgd", "adam", "rmsprop", "nag"),
}


@pytest.mark.parametrize(("name", "choices"), CHOICES.items())
def test_choices_are_the_documented_words(name: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        assert getattr(read(**{name: choice}), name) == choice
    assert f"{name}='SGD' must be one of {', '.join(choices)}" in problems(**{name: "SGD"})


@pytest.mark.parametrize("name", ["multi_label", "use_weighted_loss"])
def test_switches_are_zero_or_one(name: str) -> None:
    assert getattr(read(**{name: "1"}), name) is True
    assert getattr(read(**{name: "0"}), name) is False
    assert f"{name}='True' must be 0 or 1" in problems(**{name: "True"})


def test_early_stopping_is_true_or_false_in_the_case_of_either_sdk() -> None:
    assert read(early_stopping="True").early_stopping
    assert read(early_stopping="true").early_stopping
    assert not read(early_stopping="False").early_stopping
    assert "early_stopping='1' must be True or False" in problems(early_stopping="1")


@pytest.mark.parametrize("depth", ["20", "32", "44", "56", "110"])
def test_small_images_take_the_small_depths(depth: str) -> None:
    assert read(num_layers=depth).num_layers == int(depth)
    assert f"num_layers={depth} does not go with image_shape=3,224,224" in problems(
        num_layers=depth, image_shape="3,224,224"
    )


@pytest.mark.parametrize("depth", ["18", "34", "50", "101", "152", "200"])
def test_large_images_take_the_imagenet_depths(depth: str) -> None:
    assert read(num_layers=depth, image_shape="3,224,224").num_layers == int(depth)
    assert "images up to 28 pixels high take 20, 32, 44, 56, 110" in problems(num_layers=depth)


@pytest.mark.parametrize("shape", ["28", "3,28", "3x28x28", "3,0,28", "2,28,28", "a,b,c", "3,28,28,1"])
def test_an_image_shape_is_channels_height_width(shape: str) -> None:
    assert f"image_shape={shape!r} must be" in problems(image_shape=shape)


def test_one_and_three_channels_are_read() -> None:
    assert read(image_shape="1, 28, 20").image_shape == (1, 28, 20)
    assert read(image_shape="3,28,28").image_shape == (3, 28, 28)


def test_scheduler_steps_rise() -> None:
    assert read(lr_scheduler_step="10,20").lr_scheduler_step == (10, 20)
    for wrong in ("20,10", "10,10", "0,5", "10;20", ""):
        assert f"lr_scheduler_step={wrong!r} must be positive epochs in rising order" in problems(
            lr_scheduler_step=wrong
        )


def test_required_ones_are_named_when_missing() -> None:
    reading = read_hyperparameters({})
    assert reading.problems == (
        "hyperparameter num_classes is required",
        "hyperparameter num_training_samples is required",
    )
    with pytest.raises(CustomerError, match=r"^Customer Error: .*num_classes is required; .*num_training_samples"):
        reading.hyperparameters()


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    assert problems(learning_rat="0.1") == "hyperparameter 'learning_rat' is unknown: did you mean learning_rate?"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("lr", "learning_rate"), ("batch_size", "mini_batch_size"), ("depth", "num_layers"), ("WD", "weight_decay")],
)
def test_a_name_that_is_used_elsewhere_is_understood(written: str, meant: str) -> None:
    assert problems(**{written: "1"}) == f"hyperparameter {written!r} is unknown: did you mean {meant}?"


@pytest.mark.parametrize("name", ["colour", "dropout", "warmup", "x" * 5000])
def test_a_name_that_is_like_no_other_is_refused_without_a_guess(name: str) -> None:
    assert problems(**{name: "1"}).endswith("is unknown")


def test_the_keys_of_the_service_and_the_sdks_are_ignored() -> None:
    assert problems(_tuning_objective_metric="validation:accuracy", sagemaker_program="x.py") == ""


def test_values_may_carry_json_quotes_or_be_json_numbers() -> None:
    chosen = read(optimizer='"adam"', learning_rate='"0.01"', epochs=7, image_shape='"3,28,28"')
    assert (chosen.optimizer, chosen.learning_rate, chosen.epochs) == ("adam", 0.01, 7)


def test_contradictions_are_found_between_valid_values() -> None:
    assert "checkpoint_frequency=6 must not be above epochs=5" in problems(checkpoint_frequency="6", epochs="5")
    assert "top_k=11 must not be above num_classes=10" in problems(top_k="11")
    assert "top_k=2 has no meaning with multi_label=1" in problems(top_k="2", multi_label="1")


def test_what_another_optimizer_uses_is_harmless() -> None:
    assert problems(optimizer="sgd", beta_1="0.5", gamma="0.5") == ""


def test_what_this_machine_cannot_do_is_refused() -> None:
    assert "needs a GPU" in problems(precision_dtype="float16")
    assert "needs ImageNet weights" in problems(use_pretrained_model="1")


def test_pretrained_weights_are_ignored_where_a_model_is_given() -> None:
    reading = read_hyperparameters({**SMALL, "use_pretrained_model": "1"}, incremental=True)
    assert not reading.hyperparameters().use_pretrained_model


def test_all_problems_are_told_at_once() -> None:
    wrong = dict.fromkeys(NAMES, "?")
    assert len(read_hyperparameters(wrong).problems) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", "1_0"), ("momentum", "0.0_1"), ("image_shape", "3,2_8,28"), ("epochs", "9" * 5000)]
)
def test_numbers_are_those_of_everybody_and_not_of_python(name: str, value: str) -> None:
    message = problems(**{name: value})
    assert f"hyperparameter {name}=" in message
    assert len(message) < 300


@pytest.mark.parametrize("augmentation", ["crop_color", "crop_color_transform"])
def test_grey_images_have_no_colours_to_change(augmentation: str) -> None:
    message = problems(image_shape="1,28,28", augmentation_type=augmentation)
    assert f"augmentation_type={augmentation} changes colours, and image_shape=1,28,28 has one channel" in message
    assert problems(image_shape="1,28,28", augmentation_type="crop") == ""
