from __future__ import annotations

from include.run_conf import Hyperparameters, IncrementalHyperparameters


def test_only_what_is_set_is_sent_and_every_value_is_a_text() -> None:
    sent = Hyperparameters(epochs=3, learning_rate=0.001, early_stopping=True, use_pretrained_model=0, eps=1e-8)
    assert sent.as_strings() == {
        "num_layers": "20",
        "image_shape": "3,28,28",
        "epochs": "3",
        "mini_batch_size": "32",
        "learning_rate": "0.001",
        "early_stopping": "True",
        "use_pretrained_model": "0",
        "eps": "1e-08",
    }


def test_an_incremental_training_says_only_what_differs() -> None:
    assert IncrementalHyperparameters().as_strings() == {"epochs": "2", "learning_rate": "0.01"}
    assert IncrementalHyperparameters(epochs=None, learning_rate=None).as_strings() == {}


def test_the_image_shape_reads_as_channels_height_width() -> None:
    assert Hyperparameters(image_shape="1,32,48").shape == (1, 32, 48)
