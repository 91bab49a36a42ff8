from __future__ import annotations

import io

from im2rec.__main__ import parse_arguments
from im2rec.packing import Progress, image_options
from include.recordio.options import ImageOptions
from include.run_conf import PackingConf


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(stream: io.StringIO | None) -> Progress:
    clock = Clock()
    progress = Progress("train.lst", 100, stream, clock=clock)
    for _ in range(20):
        progress.count(1_000_000)
        clock.now += 1
        progress.tick()
    return progress


def test_elsewhere_a_line_stands_every_ten_seconds() -> None:
    stream = io.StringIO()
    run(stream)
    assert stream.getvalue().splitlines() == [
        "train.lst: 10 of 100 images, 1 images/s, 1.0 MB/s read, 0:01:30 left",
        "train.lst: 20 of 100 images, 1 images/s, 1.0 MB/s read, 0:01:20 left",
    ]


def test_on_a_terminal_one_line_changes_and_can_be_taken_away() -> None:
    stream = Terminal()
    progress = run(stream)
    assert stream.getvalue().count("\r") == 20
    assert "\n" not in stream.getvalue()
    progress.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_without_a_stream_it_only_counts() -> None:
    assert run(None).images == 20


def test_the_command_line_and_the_run_conf_pack_alike_unless_asked() -> None:
    assert image_options(parse_arguments(["PREFIX", "ROOT"])) == ImageOptions() == PackingConf().options


def test_every_packing_option_of_the_command_line_arrives() -> None:
    asked = ["--resize", "64", "--center-crop", "--quality", "7", "--color", "0", "--encoding", ".png"]
    assert image_options(parse_arguments(["PREFIX", "ROOT", *asked, "--pass-through"])) == ImageOptions(
        resize=64, center_crop=True, quality=7, color=0, encoding=".png", pass_through=True
    )
