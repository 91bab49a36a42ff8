from __future__ import annotations

from pathlib import Path

import pytest

from containers.image_classification.image_lists import read_image_list
from containers.image_classification.job import TrainingJob, read_job
from containers.image_classification.paths import ContainerPaths
from containers.image_classification.problems import CustomerError
from tests.containers.job_folder import (
    TRAIN_IMAGES,
    JobFolder,
    JobMaker,
    corner_images,
    encoded,
    picture,
    several_corners,
    write_records,
)


def read(job: JobFolder) -> TrainingJob:
    workspace = job.base / "workspace"
    workspace.mkdir(exist_ok=True)
    return read_job(ContainerPaths(job.base), workspace)


def refusal(job: JobFolder) -> str:
    with pytest.raises(CustomerError) as refused:
        read(job)
    return str(refused.value)


def test_a_job_without_problems_is_read(job: JobFolder) -> None:
    read_back = read(job)
    assert len(read_back.train) == TRAIN_IMAGES
    assert read_back.warnings() == []


def test_a_wrong_number_of_training_samples_is_refused_with_the_right_one(make_job: JobMaker) -> None:
    assert "num_training_samples=90 differs from the 96 records" in refusal(make_job(num_training_samples=90))


def test_an_empty_record_file_is_refused(job: JobFolder) -> None:
    (job.channel("train") / "train.rec").write_bytes(b"")
    assert "Empty .rec file in train channel" in refusal(job)


def test_a_file_that_holds_no_records_is_refused(job: JobFolder) -> None:
    (job.channel("train") / "train.rec").write_bytes(b"index\tlabel\n" * 9)
    assert "train.rec in channel 'train' has no RecordIO record at byte 0" in refusal(job)


def test_a_cut_off_record_file_is_refused(job: JobFolder) -> None:
    path = job.channel("validation") / "validation.rec"
    path.write_bytes(path.read_bytes()[:-9])
    assert "validation.rec in channel 'validation' is cut off" in refusal(job)


def test_a_label_outside_the_classes_is_refused(make_job: JobMaker) -> None:
    message = refusal(make_job(num_classes=2))
    assert "32 records of train.rec in channel 'train' have a label outside 0..1 (num_classes=2)" in message
    assert "the first is record 2 with label 2" in message


@pytest.mark.parametrize("label", [-1.0, 0.5, float("nan")])
def test_a_label_that_is_no_class_index_is_refused(job: JobFolder, label: float) -> None:
    records = [*corner_images(TRAIN_IMAGES - 1), (label, encoded(picture(0, 0)))]
    write_records(job.channel("train") / "train.rec", records)
    assert f"record {TRAIN_IMAGES - 1} with label {label:g}" in refusal(job)


def test_a_label_width_that_differs_within_a_file_is_refused(job: JobFolder) -> None:
    records = [*corner_images(TRAIN_IMAGES - 1), ([1.0, 0.0], encoded(picture(0, 0)))]
    write_records(job.channel("train") / "train.rec", records)
    assert "the label width differs between the records of train.rec in channel 'train': 1 (95 records), 2 (1" in (
        refusal(job)
    )


def test_several_labels_need_multi_label(job: JobFolder) -> None:
    write_records(job.channel("train") / "train.rec", several_corners(TRAIN_IMAGES))
    assert "train.rec in channel 'train' have label width 3: set multi_label=1" in refusal(job)


def test_multi_label_needs_a_column_for_each_class(make_job: JobMaker) -> None:
    job = make_job(multi_label=1)
    write_records(job.channel("train") / "train.rec", several_corners(TRAIN_IMAGES))
    message = refusal(job)
    assert "validation.rec in channel 'validation' have label width 1, multi_label=1 needs one column" in message
    assert "train.rec" not in message


def test_multi_label_columns_are_zero_or_one(make_job: JobMaker) -> None:
    job = make_job(multi_label=1)
    write_records(job.channel("train") / "train.rec", [([2.0, 0.0, 1.0], encoded(picture(0, 0)))] * TRAIN_IMAGES)
    assert "have labels other than 0 and 1, the first is record 0" in refusal(job)


HEADER = ([7.0, 9.0], b"")
"""A record of a header and no image, as face data sets begin with."""


def test_header_records_before_the_first_image_are_passed_over(job: JobFolder) -> None:
    write_records(job.channel("train") / "train.rec", [HEADER, HEADER, *corner_images(TRAIN_IMAGES)])
    read_back = read(job)
    assert (len(read_back.train), read_back.train.leading_headers) == (TRAIN_IMAGES, 2)
    assert read_back.warnings() == [
        "2 records of train.rec in channel 'train' have a header and no image: they are passed over"
    ]


def test_a_problem_behind_header_records_names_the_record_of_the_file(job: JobFolder) -> None:
    records = [HEADER, *corner_images(TRAIN_IMAGES - 1), (9.0, encoded(picture(0, 0, side=20, width=40)))]
    write_records(job.channel("train") / "train.rec", records)
    message = refusal(job)
    assert f"record {TRAIN_IMAGES} is 40 x 20" in message
    assert f"the first is record {TRAIN_IMAGES} with label 9" in message


@pytest.mark.parametrize("place", [1, TRAIN_IMAGES])
def test_header_records_behind_an_image_are_refused(job: JobFolder, place: int) -> None:
    records = list(corner_images(TRAIN_IMAGES))
    records.insert(place, HEADER)  # type: ignore[arg-type]
    write_records(job.channel("train") / "train.rec", records)
    assert (
        f"1 records of train.rec in channel 'train' have a header and no image behind the first image, the first is "
        f"record {place}: MXNet's reader ends there; pack the file without them"
    ) in refusal(job)


def test_a_file_of_header_records_alone_is_empty(job: JobFolder) -> None:
    write_records(job.channel("train") / "train.rec", [HEADER])
    assert "Empty .rec file in train channel: train.rec holds no image, and 1 records of a header" in refusal(job)


@pytest.mark.parametrize(("shape", "fits"), [("3,28,40", True), ("3,40,28", False), ("3,28,41", False)])
def test_height_is_compared_with_height_and_width_with_width(make_job: JobMaker, shape: str, fits: bool) -> None:
    layers = 20 if shape.startswith("3,28") else 18
    job = make_job(image_shape=shape, num_layers=layers)
    for channel, count in (("train", TRAIN_IMAGES), ("validation", 9)):
        write_records(job.channel(channel) / f"{channel}.rec", corner_images(count, side=28, width=40))
    if fits:
        assert read(job).train.sizes[0].tolist() == [40, 28]
    else:
        assert f"image_shape {shape.split(',')[2]} x {shape.split(',')[1]} (width x height), record 0 is 40 x 28" in (
            refusal(job)
        )


def test_images_smaller_than_image_shape_are_refused(job: JobFolder) -> None:
    records = [*corner_images(TRAIN_IMAGES - 1), (0.0, encoded(picture(0, 0, side=20, width=40)))]
    write_records(job.channel("train") / "train.rec", records)
    message = refusal(job)
    assert "input image size smaller than input shape: 1 of 96 images in channel 'train'" in message
    assert "record 95 is 40 x 20" in message


def test_records_without_an_image_are_refused(job: JobFolder) -> None:
    records = [*corner_images(TRAIN_IMAGES - 1), (0.0, b"no image at all")]
    write_records(job.channel("train") / "train.rec", records)
    assert "1 records of train.rec in channel 'train' hold no readable image, the first is record 95" in refusal(job)


def test_images_of_another_format_are_measured_by_their_header(job: JobFolder) -> None:
    write_records(job.channel("train") / "train.rec", [(0.0, encoded(picture(0, 0), ".bmp"))] * TRAIN_IMAGES)
    assert read(job).train.sizes.tolist() == [[28, 28]] * TRAIN_IMAGES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("18446744073709551616\t1\ta.png", "needs an index of 64 bits"),
        ("-1\t1\ta.png", "needs an index of 64 bits"),
        ("0\tnan\ta.png", "finite labels of 32 bits"),
        ("0\t1e300\ta.png", "finite labels of 32 bits"),
        (f"0\t1\t{'a' * 5000}.png", "which is not in the channel"),
        ("0\t1\ta\0b.png", "which is not in the channel"),
        (f"{'9' * 5000}\t1\ta.png", "has no numeric index and labels"),
    ],
)
def test_a_line_of_a_list_that_no_record_can_hold_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(0, 0), ".png"))
    (tmp_path / "a.lst").write_text(f"0\t1\ta.png\n{line}\n")
    listed, problems = read_image_list(tmp_path / "a.lst", tmp_path)
    assert len(listed) == 1
    assert problems[0].startswith("1 lines of a.lst cannot be used: line 2 ")
    assert reason in problems[0]
    assert len(problems[0]) < 400


@pytest.mark.parametrize("channel", ["train", "validation"])
def test_a_batch_that_a_channel_cannot_fill_is_refused(make_job: JobMaker, channel: str) -> None:
    message = refusal(make_job(mini_batch_size=97))
    assert "number of input images must be bigger or equal to the mini_batch_size" in message
    assert f"channel '{channel}' has" in message


def test_exactly_one_record_file_is_read_per_channel(job: JobFolder) -> None:
    write_records(job.channel("train") / "more" / "more.rec", corner_images(9))
    (job.channel("validation") / "validation.rec").unlink()
    message = refusal(job)
    assert "channel 'train' holds 2 .rec files (more/more.rec, train.rec): exactly one is read" in message
    assert "channel 'validation' holds no .rec file" in message


def test_a_missing_channel_is_refused(job: JobFolder) -> None:
    job.write_config("inputdataconfig", {"train": {"ContentType": "application/x-recordio"}})
    assert "channel 'validation' is required" in refusal(job)


def test_pipe_mode_and_unknown_content_types_are_refused(job: JobFolder) -> None:
    job.declare(TrainingInputMode="Pipe")
    assert "channel 'train' has TrainingInputMode Pipe" in refusal(job)
    job.declare("text/csv")
    assert "channel 'train' has ContentType 'text/csv'" in refusal(job)


def test_without_a_channel_configuration_the_folders_decide(job: JobFolder) -> None:
    (job.base / "input" / "config" / "inputdataconfig.json").unlink()
    assert len(read(job).train) == TRAIN_IMAGES


def test_several_instances_are_refused(job: JobFolder) -> None:
    job.write_config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    assert "the job has 2 instances and this container trains on one" in refusal(job)
    job.write_config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"]})
    assert read(job)


def image_job(base: Path, listing: str, **hyperparameters: object) -> JobFolder:
    job = JobFolder(base)
    for channel in ("train", "validation"):
        job.channel(channel).mkdir(parents=True)
        (job.channel(channel) / "a.jpg").write_bytes(encoded(picture(0, 0, side=40, width=60)))
        job.channel(f"{channel}_lst").mkdir()
        (job.channel(f"{channel}_lst") / "list.lst").write_text(listing)
    chosen = {"num_training_samples": 1, "mini_batch_size": 1, "resize": 28} | hyperparameters
    return job.declare("application/x-image").set(**chosen)


def test_listed_images_are_packed_and_measured_after_resizing(tmp_path: Path) -> None:
    job = read(image_job(tmp_path, "0\t1.000000\ta.jpg\n"))
    assert job.train.sizes.tolist() == [[42, 28]]
    assert job.train.labels.tolist() == [[1.0]]


def test_lists_that_name_what_is_not_there_are_refused(tmp_path: Path) -> None:
    message = refusal(image_job(tmp_path, "0\t1\tb.jpg\nx\t1\ta.jpg\n1\t../../config/hyperparameters.json\n"))
    assert "line 1 names 'b.jpg', which is not in the channel" in message
    assert "line 2 has no numeric index and labels" in message
    assert "line 3 needs an index, a label and a path" in message


def test_images_outside_the_channel_are_refused(tmp_path: Path) -> None:
    job = image_job(tmp_path, "0\t1\t../train_lst/list.lst\n")
    assert "names '../train_lst/list.lst', which is not in the channel" in refusal(job)


def test_image_channels_need_resize(tmp_path: Path) -> None:
    assert "resize is required with application/x-image" in refusal(
        image_job(tmp_path / "a", "0\t1\ta.jpg", resize=None)
    )
    assert "resize=20 must be at least the shorter side of image_shape, 28" in (
        refusal(image_job(tmp_path / "b", "0\t1\ta.jpg", resize=20))
    )


def test_image_channels_need_their_list(tmp_path: Path) -> None:
    job = image_job(tmp_path, "0\t1\ta.jpg")
    (job.channel("train_lst") / "list.lst").unlink()
    job.channel("train_lst").rmdir()
    assert "channel 'train_lst' is required" in refusal(job.declare("application/x-image"))


def test_a_class_without_images_is_warned_of(job: JobFolder) -> None:
    write_records(job.channel("train") / "train.rec", [(0.0, encoded(picture(0, 0)))] * TRAIN_IMAGES)
    assert read(job).warnings() == ["no image in channel 'train' has class 1, 2"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b broken"])
def test_a_model_channel_without_a_model_is_refused(job: JobFolder, content: bytes) -> None:
    job.channel("model").mkdir()
    (job.channel("model") / "model.tar.gz").write_bytes(content)
    assert "the model in channel 'model' cannot be used: model.tar.gz cannot be unpacked" in refusal(job.declare())
    (job.channel("model") / "model.tar.gz").unlink()
    assert "image-classification-NNNN.params, image-classification-symbol.json, model-shapes.json missing" in (
        refusal(job)
    )


def test_configuration_that_is_no_json_is_refused(job: JobFolder) -> None:
    (job.base / "input" / "config" / "hyperparameters.json").write_text("{")
    assert "hyperparameters.json is not JSON" in refusal(job)
    job.write_config("hyperparameters", {})
    (job.base / "input" / "config" / "inputdataconfig.json").write_text("{'train': {}}")
    assert "inputdataconfig.json is not JSON" in refusal(job)
    job.write_config("inputdataconfig", {"train": "application/x-recordio"})
    assert "channel 'train' must be a JSON object in inputdataconfig.json" in refusal(job)


def test_a_list_of_another_encoding_is_refused(tmp_path: Path) -> None:
    job = image_job(tmp_path, "0\t1\ta.jpg")
    list_file = job.channel("train_lst") / "list.lst"
    list_file.write_bytes("0\t1\tä.jpg".encode("latin-1"))
    assert "channel 'train_lst': list.lst is not UTF-8 text from byte 4 on: save it as UTF-8" in refusal(job)


def test_resize_is_for_images_as_files_only(make_job: JobMaker, tmp_path: Path) -> None:
    read_back = read(make_job(resize=56))
    assert read_back.train.resize is None
    assert read_back.warnings() == ["resize=56 has no effect on records: it is for channels of images as files"]
