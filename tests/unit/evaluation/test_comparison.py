"""Two models on the same images; every expected value is worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from include.evaluation.comparison import (
    Comparison,
    ComparisonError,
    Pairs,
    PromotionRule,
    compare,
    mcnemar,
    verdict,
)
from include.evaluation.metrics import Chance, Compare, Figure, Verdict
from tests.unit.evaluation.answered import LABELS, multi, single

TRUTH = "cccccdddoo"
CHAMPION = "cccddddooo"  # wrong about images 3, 4, 7
CHALLENGER = "ccccccddoo"  # wrong about image 5, and about none of those


def compared() -> Comparison:
    return compare(single(CHAMPION, TRUTH, model="old"), single("cccccccdoo", TRUTH, model="new"))


def test_every_image_is_a_pair_of_answers() -> None:
    found = compared()
    assert (found.champion, found.challenger, found.figure) == ("old", "new", "accuracy")
    figures = found.all_images
    # New is wrong about 5 and 6, old about 3, 4 and 7.
    assert figures.pairs == Pairs(both_right=5, only_champion=2, only_challenger=3, both_wrong=0)
    assert (figures.images, figures.champion, figures.challenger) == (10, 0.7, 0.8)
    assert figures.difference == pytest.approx(0.1)


def test_mcnemars_test_is_exact() -> None:
    figures = compared().all_images
    # Of 5 images that differ 3 are the challenger's: (1 + 5 + 10 + 10) / 32 for 3 or fewer, (10 + 5 + 1) / 32 for 3
    # or more.
    assert figures.test == "exact McNemar"
    assert figures.p_worse == pytest.approx(26 / 32)
    assert figures.p_better == pytest.approx(16 / 32)
    assert figures.p_two_sided == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("lost", "won", "worse", "better", "differ"),
    [(5, 1, 7 / 64, 63 / 64, 14 / 64), (0, 6, 1.0, 1 / 64, 2 / 64), (0, 0, 1.0, 1.0, 1.0)],
)
def test_p_values_of_few_pairs(lost: int, won: int, worse: float, better: float, differ: float) -> None:
    assert mcnemar(lost, won, "less") == pytest.approx(worse)
    assert mcnemar(lost, won, "greater") == pytest.approx(better)
    assert mcnemar(lost, won, "two-sided") == pytest.approx(differ)


def test_the_difference_has_an_interval() -> None:
    # Half an image more in each count: 2.5 lost and 3.5 won of 12; 1.96 * sqrt(6 - 1 / 12) / 12 around 1 / 12.
    interval = compared().all_images.difference_interval
    assert interval.low == pytest.approx(1 / 12 - 1.959964 * (6 - 1 / 12) ** 0.5 / 12)
    assert interval.high == pytest.approx(1 / 12 + 1.959964 * (6 - 1 / 12) ** 0.5 / 12)


def test_models_that_answer_alike_do_not_differ() -> None:
    figures = compare(single(CHAMPION, TRUTH), single(CHAMPION, TRUTH)).all_images
    assert (figures.difference, figures.p_two_sided, figures.p_worse, figures.p_better) == (0.0, 1.0, 1.0, 1.0)
    assert figures.difference_interval.low < 0 < figures.difference_interval.high


def test_new_images_are_compared_alone() -> None:
    found = compare(single(CHAMPION, TRUTH), single(CHALLENGER, TRUTH), new_images=[3, 4, 5, 99])
    assert found.new_images is not None
    assert found.new_images.pairs == Pairs(both_right=0, only_champion=1, only_challenger=2, both_wrong=0)
    assert compared().new_images is None


def test_the_images_of_before_are_compared_alone() -> None:
    found = compare(single(CHAMPION, TRUTH), single(CHALLENGER, TRUTH), new_images=[3, 4, 5, 99])
    assert found.earlier_images is not None
    assert found.earlier_images.pairs == Pairs(both_right=6, only_champion=0, only_challenger=1, both_wrong=0)
    assert compared().earlier_images is None
    every = compare(single(CHAMPION, TRUTH), single(CHALLENGER, TRUTH), new_images=range(10))
    assert (every.earlier_images, every.new_images) == (None, None)


def test_the_order_of_the_images_does_not_matter() -> None:
    ids = list(range(len(TRUTH)))
    turned = single(CHAMPION[::-1], TRUTH[::-1], model="old", ids=ids[::-1])
    assert compare(turned, single("cccccccdoo", TRUTH, model="new", ids=ids)) == compared()


def test_classes_that_got_worse_begin_with_the_largest_loss() -> None:
    champion, challenger = "c" * 20 + "d" * 20 + "o" * 20, "c" * 18 + "dd" + "c" * 20 + "o" * 20
    cat, dog = reversed(compare(single(champion, champion), single(challenger, champion)).worse_classes)
    assert (dog.label, dog.images, dog.champion, dog.challenger) == ("dog", 20, 1.0, 0.0)
    assert (dog.only_champion, dog.only_challenger, dog.p_worse) == (20, 0, pytest.approx(0.5**20))
    assert dog.significant
    assert (cat.label, cat.challenger, cat.p_worse, cat.significant) == ("cat", 0.9, 0.25, False)


def test_significance_allows_for_the_number_of_classes() -> None:
    # Five of five lost: 1 / 32 is below 0.05, but not as the best of three classes, 3 / 32.
    champion, challenger = "cccccdo", "dddddd" + "o"
    (cat,) = compare(single(champion, champion), single(challenger, champion)).worse_classes
    assert (cat.p_worse, cat.significant) == (pytest.approx(1 / 32), False)


def test_answers_of_other_images_are_refused() -> None:
    with pytest.raises(ComparisonError) as refused:
        compare(single("cd", "cd", model="old", ids=[1, 2]), single("cdo", "cdo", model="new", ids=[2, 3, 4]))
    assert str(refused.value) == (
        "old answered 2 test images of s3://images-of-acme/datasets/pets/1/, new 3, and 1 are the same: let both "
        "answer all of them."
    )


def test_models_of_other_classes_or_versions_are_refused() -> None:
    ours = single("cd", "cd", model="new")
    with pytest.raises(ComparisonError, match="old knows 2 classes and new 3, and they are not the same"):
        compare(replace(single("cd", "cd", model="old"), labels=("cat", "dog")), ours)
    with pytest.raises(ComparisonError, match="old answered the test images of s3://other/, new those of s3://images"):
        compare(replace(single("cd", "cd", model="old"), dataset="s3://other/"), ours)
    with pytest.raises(ComparisonError, match="compared by accuracy, not by exact_match"):
        compare(ours, ours, figure="exact_match")


def several(seed: int, sharpness: float, images: int = 80) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    truth = (random.random((images, 3)) < 0.4).astype(int)
    noise = np.random.default_rng(seed).random((images, 3))
    return np.clip(truth * sharpness + noise * (1 - sharpness), 0, 1), truth


@pytest.mark.parametrize("figure", ["mean_average_precision", "accuracy", "exact_match"])
def test_multi_label_models_are_compared_by_a_figure(figure: Figure) -> None:
    (blunt, truth), (sharp, _) = several(1, 0.1), several(2, 0.55)
    found = compare(multi(blunt, truth), multi(sharp, truth), figure=figure)
    figures = found.all_images
    assert (found.figure, figures.test) == (figure, "paired bootstrap")
    assert (figures.p_better, figures.p_worse) == (pytest.approx(1 / 1001), 1.0)
    assert figures.p_two_sided == pytest.approx(2 / 1001)
    assert figures.difference_interval.low > 0
    assert found == compare(multi(blunt, truth), multi(sharp, truth), figure=figure), "the bootstrap is seeded"


def test_multi_label_figures_are_those_of_the_answers() -> None:
    truth = [(1, 0, 1), (0, 1, 0)]
    champion, challenger = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3]], [[0.9, 0.2, 0.6], [0.1, 0.8, 0.3]]
    by_accuracy = compare(multi(champion, truth), multi(challenger, truth), figure="accuracy").all_images
    assert (by_accuracy.champion, by_accuracy.challenger) == (pytest.approx(5 / 6), 1.0)
    by_images = compare(multi(champion, truth), multi(challenger, truth), figure="exact_match").all_images
    assert (by_images.champion, by_images.challenger) == (0.5, 1.0)
    assert by_images.pairs == Pairs(both_right=1, only_champion=0, only_challenger=1, both_wrong=0)


def test_multi_label_models_that_answer_alike_do_not_differ() -> None:
    said, truth = several(1, 0.3)
    figures = compare(multi(said, truth), multi(said, truth)).all_images
    assert (figures.difference, figures.p_two_sided, figures.p_worse, figures.p_better) == (0.0, 1.0, 1.0, 1.0)


def test_a_label_that_is_answered_worse_is_found() -> None:
    truth = [(1, 1, 0)] * 12
    worse = compare(multi([[0.9, 0.9, 0.1]] * 12, truth), multi([[0.9, 0.2, 0.1]] * 12, truth)).worse_classes
    assert [(change.label, change.champion, change.challenger, change.significant) for change in worse] == [
        ("dog", 1.0, 0.0, True)
    ]
    assert LABELS[1] == "dog"


def judged(lost: int, won: int, *, images: int = 1000, accuracy: float = 0.9, **rule: object) -> tuple[bool, str]:
    """The verdict where the models differ on so many images, and are right about all others."""
    truth = "c" * images
    champion = "c" * (images - won) + "d" * won
    challenger = "d" * lost + "c" * (images - lost)
    found = compare(single(champion, truth), single(challenger, truth))
    decided = verdict(found, accuracy=accuracy, rule=PromotionRule(**rule))  # type: ignore[arg-type]
    return decided.accepted, decided.reason


def test_a_model_as_good_as_the_champion_is_not_worse() -> None:
    assert judged(3, 3) == (
        True,
        "Not worse than the champion: its accuracy is 99.70%, the champion's 99.70%, on the same 1,000 images.",
    )


def test_a_model_that_is_significantly_worse_is_refused() -> None:
    # Five lost and none won: 1 / 32.
    assert judged(5, 0) == (
        False,
        "Significantly worse than the champion (p = 0.031): its accuracy is 99.50%, the champion's 100.00%, on the "
        "same 1,000 images.",
    )
    assert judged(4, 0)[0], "1 / 16 is not below 0.05"


def test_a_model_below_the_margin_is_refused_though_it_may_be_chance() -> None:
    assert judged(3, 0, images=100) == (
        False,
        "Too far below the champion: its accuracy is 97.00%, the champion's 100.00%, on the same 100 images. That is "
        "3.00 points below, and 1.00 are allowed.",
    )
    assert judged(1, 0, images=100)[0], "exactly the margin below is allowed"
    assert judged(3, 0, images=100, margin=0.03)[0]


def test_a_verdict_on_few_images_says_how_little_is_known() -> None:
    assert judged(0, 0, images=20) == (
        True,
        "Not worse than the champion: its accuracy is 100.00%, the champion's 100.00%, on the same 20 images. So few "
        "images show little: the true difference is between -8.9 and +8.9 points (95 %).",
    )
    accepted, reason = judged(1, 0, images=20)
    assert not accepted, "a single image is more than the margin"
    assert "That is 5.00 points below, and 1.00 are allowed. So few images show little: " in reason
    assert "So few" not in judged(0, 0, images=38)[1]


def test_a_multi_label_verdict_on_few_images_says_so_too() -> None:
    right = multi([[0.9, 0.9, 0.1], [0.1, 0.9, 0.9]] * 6, [(1, 1, 0), (0, 1, 1)] * 6)
    decided = verdict(compare(right, right), accuracy=1.0, rule=PromotionRule())
    assert decided.reason.endswith("on the same 12 images. So few images show little.")


def test_better_asks_for_a_significant_gain() -> None:
    assert judged(0, 5, compare="better")[1].startswith(
        "Significantly better than the champion (p = 0.031): its accuracy"
    )
    accepted, reason = judged(0, 4, compare="better")
    assert not accepted
    assert reason.startswith("Not significantly better than the champion (p = 0.062, asked: below 0.05): its accuracy")


@pytest.mark.parametrize(
    ("rule", "lost", "accepted"), [("not_worse", 5, False), ("not_worse", 1, True), ("better", 5, False)]
)
def test_new_images_with_wrong_labels_hide_no_loss(rule: str, lost: int, accepted: bool) -> None:
    """Both models answer them as if by dice: 30 more of them rightly weigh more than what was lost on the others."""
    earlier, new = 100, 400
    truth = "c" * (earlier + new)
    champion = "c" * earlier + "d" * new
    challenger = "d" * lost + "c" * (earlier - lost) + "c" * 30 + "d" * (new - 30)
    found = compare(single(champion, truth), single(challenger, truth), new_images=range(earlier, earlier + new))
    assert found.all_images.p_better < 0.05

    decided = verdict(found, accuracy=0.25, rule=PromotionRule(compare=rule))  # type: ignore[arg-type]

    assert decided.accepted is accepted
    if not accepted:
        assert decided.reason == (
            "Significantly worse than the champion (p = 0.031): its accuracy is 95.00%, the champion's 100.00%, on the "
            "same 100 images that it had before."
        )


def test_without_a_comparison_only_the_minimum_counts() -> None:
    assert judged(500, 0, compare="off", minimum_accuracy=0.8) == (
        True,
        "It was not compared with the champion, as the conf asks. Its accuracy is 90.00%, the minimum is 80.00%.",
    )
    first = verdict(None, accuracy=0.9, rule=PromotionRule(minimum_accuracy=0.8))
    assert first.accepted
    assert first.reason == "There is no champion to compare with. Its accuracy is 90.00%, the minimum is 80.00%."


def test_without_a_number_the_minimum_is_what_guessing_reaches() -> None:
    chance = Chance(figure="accuracy", reached=0.11, guessed=0.1, is_above=False)
    refused = verdict(None, accuracy=0.11, rule=PromotionRule(), chance=chance)
    assert (refused.accepted, refused.reason) == (
        False,
        "Its accuracy, 11.00%, is not clearly above 10.00%, the share of the most frequent class, which guessing "
        "reaches too.",
    )
    off = verdict(None, accuracy=0.11, rule=PromotionRule(compare="off"), chance=chance)
    assert not off.accepted
    assert verdict(None, accuracy=0.11, rule=PromotionRule(minimum_accuracy=0.0), chance=chance).accepted, "a number"
    above = verdict(None, accuracy=0.9, rule=PromotionRule(), chance=chance.model_copy(update={"is_above": True}))
    assert above.reason == "There is no champion to compare with. Its accuracy is 90.00%, guessing reaches 10.00%."


def test_the_minimum_of_a_multi_label_model_is_a_random_order() -> None:
    chance = Chance(figure="mean_average_precision", reached=0.31, guessed=0.3, is_above=False)
    refused = verdict(None, accuracy=0.95, rule=PromotionRule(), chance=chance)
    assert refused.reason == (
        "Its mean average precision, 31.00%, is not clearly above 30.00%, which images in a random order reach."
    )
    above = verdict(None, accuracy=0.95, rule=PromotionRule(), chance=chance.model_copy(update={"is_above": True}))
    assert above.reason == (
        "There is no champion to compare with. Its accuracy is 95.00%, its mean average precision 31.00%, guessing "
        "reaches 30.00%."
    )


def test_a_champion_that_cannot_be_compared_is_named() -> None:
    decided = verdict(None, accuracy=0.9, rule=PromotionRule(), uncompared="the champion has other classes")
    assert decided.accepted
    assert decided.reason == (
        "It was not compared with the champion: the champion has other classes. Its accuracy is 90.00%, without a "
        "minimum."
    )


def test_a_model_that_cannot_be_compared_with_the_champion_is_refused() -> None:
    def decided(compare: Compare) -> Verdict:
        return verdict(None, accuracy=0.9, rule=PromotionRule(compare=compare), incomparable="it has seen all")

    assert (decided("not_worse").accepted, decided("not_worse").reason) == (
        False,
        "It could not be compared with the champion: it has seen all. Its accuracy is 90.00%, without a minimum.",
    )
    assert not decided("better").accepted
    assert decided("off").accepted


@pytest.mark.parametrize("rule", ["not_worse", "better", "off"])
def test_the_minimum_counts_always(rule: str) -> None:
    assert judged(0, 500, accuracy=0.5, compare=rule, minimum_accuracy=0.6) == (
        False,
        "Its accuracy, 50.00%, is below the minimum of 60.00%.",
    )


def test_the_document_is_read_again() -> None:
    found = compared()
    decided = found.model_copy(update={"verdict": verdict(found, accuracy=0.8, rule=PromotionRule())})
    assert Comparison.model_validate_json(decided.model_dump_json()) == decided


def test_images_that_the_champion_has_learned_from_do_not_count() -> None:
    champion = single("cccccdddoo", "cccccdddoo", model="champion")
    challenger = single("dddddddddo", "cccccdddoo", model="challenger")

    found = compare(champion, challenger, without=[0, 1, 2, 3, 4], new_images=[4, 9])

    assert (found.left_out, found.all_images.images) == (5, 5)
    assert found.all_images.pairs.only_champion == 1
    assert found.new_images is not None
    assert found.new_images.images == 1, "of the two new ones one does not count"
    with pytest.raises(ComparisonError, match="champion has learned from all images"):
        compare(champion, challenger, without=range(10))
