from __future__ import annotations

from collections import Counter
from itertools import islice

import boto3
import cv2
import numpy as np
from moto import mock_aws

from demo.sample_images import SIDE, digit_images, mislabelled_digits, remove_mixed_up, turned_digits, upload


def test_every_scanned_digit_is_a_jpeg_in_the_folder_of_its_class() -> None:
    images = list(digit_images())

    assert len(images) == len({image.key for image in images}) == 1797
    assert set(Counter(image.key.partition("/")[0] for image in images)) == {str(digit) for digit in range(10)}
    for image in images[::200]:
        pixels = cv2.imdecode(np.frombuffer(image.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels.max() > 200
        assert pixels.min() < 30


def test_turned_digits_keep_their_labels() -> None:
    plain = {image.key: image for image in digit_images()}
    turned = list(turned_digits())

    assert len(turned) == 899
    for image in turned:
        original = plain[image.key.replace("turned-", "")]
        assert original.jpeg != image.jpeg


def test_labels_are_mixed_up_but_as_frequent_as_before() -> None:
    right = [image.key.partition("/")[0] for image in digit_images()] * 2
    mixed = [image.key for image in mislabelled_digits()]
    labels = [key.partition("/")[0] for key in mixed]

    assert len(set(mixed)) == len(right)
    assert Counter(labels) == Counter(right)
    assert sum(label == true for label, true in zip(labels, right, strict=True)) / len(right) < 0.15
    assert len({image.jpeg for image in mislabelled_digits()}) > 0.98 * len(right)
    assert mixed == [image.key for image in mislabelled_digits()]


@mock_aws
def test_only_images_with_mixed_up_labels_are_removed() -> None:
    s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    s3.create_bucket(Bucket="images")
    right = [*islice(digit_images(), 3), *islice(turned_digits(), 2)]
    upload(s3, "images", "images/", [*right, *islice(mislabelled_digits(), 4)])

    assert remove_mixed_up(s3, "images", "images/") == 4

    left = {found["Key"] for found in s3.list_objects_v2(Bucket="images")["Contents"]}
    assert left == {f"images/{image.key}" for image in right}
    assert remove_mixed_up(s3, "images", "images/") == 0
