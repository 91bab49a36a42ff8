"""However packing ends, there is a whole pair of files or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from im2rec.inspect import main as inspect
from tests.support.pictures import jpeg
from tests.support.small_disk import mounting

PROJECT = Path(__file__).parents[3]
IM2REC = [sys.executable, "-m", "im2rec"]
MANY = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A list whose packing takes longer than any test waits."""
    (tmp_path / "0.jpg").write_bytes(jpeg(400, 500))
    (tmp_path / "train.lst").write_text("".join(f"{number}\t1\t0.jpg\n" for number in range(MANY)))
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*IM2REC, str(folder / "train"), str(folder), *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)


def wait_until_it_writes(process: subprocess.Popen[str]) -> None:
    """Wait until a file without a name has bytes in it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                is_new = str(descriptor.readlink()).endswith((" (deleted)", ".part"))
                if is_new and descriptor.stat().st_size:
                    return
            except FileNotFoundError:
                continue
        time.sleep(0.02)
    pytest.fail("nothing was written within a minute")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whoever_ends_it_midway_finds_no_half_file(number: signal.Signals, folder: Path) -> None:
    process = start(folder)
    wait_until_it_writes(process)

    process.send_signal(number)
    _, told = process.communicate(timeout=60)

    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert files(folder) == {"0.jpg", "train.lst"}
    assert "Traceback" not in told
    assert ("interrupted: what was not finished is not written" in told) == (number == signal.SIGINT)


def test_the_pair_of_before_outlives_a_kill(folder: Path) -> None:
    lines = (folder / "train.lst").read_text()
    (folder / "train.lst").write_text("0\t1\t0.jpg\n")
    assert start(folder).wait(60) == 0
    before = (folder / "train.rec").read_bytes()
    (folder / "train.lst").write_text(lines)

    process = start(folder)
    wait_until_it_writes(process)
    process.kill()
    process.communicate(timeout=60)

    assert (folder / "train.rec").read_bytes() == before
    assert inspect([str(folder / "train.rec")]) == 0


def test_a_full_disk_is_named_and_leaves_no_half_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "0.jpg").write_bytes(jpeg() + os.urandom(4 << 20))
    (folder / "train.lst").write_text("".join(f"{number}\t1\t0.jpg\n" for number in range(10)))
    disk = tmp_path_factory.mktemp("disk")
    # Where nothing may be mounted, a limit on each file's size takes the small disk's place.
    prefix = mounting(disk) or ["prlimit", f"--fsize={24 << 20}"]
    script = 'cp "$1" "$2" && shift && disk=$1 && shift && "$@"; echo "status $?"; ls -A "$disk"'
    arguments = [*IM2REC, str(disk / "train"), str(folder), "--pass-through"]
    command = [*prefix, "sh", "-c", script, "sh", str(folder / "train.lst"), str(disk), *arguments]

    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)

    assert ended.stdout.split() == ["status", "1", "train.lst"], ended.stderr
    assert "no train.rec is written" in ended.stderr
    assert ("No space left on device" in ended.stderr) or ("File too large" in ended.stderr)
    assert "Traceback" not in ended.stderr


def test_silence_is_kept_and_progress_told(folder: Path) -> None:
    (folder / "train.lst").write_text("0\t1\t0.jpg\n")
    assert start(folder, "--silent").communicate(timeout=60)[1] == ""
    assert "train.rec: 1 images" in start(folder).communicate(timeout=60)[1]


def test_the_help_knows_every_option_of_im2rec() -> None:
    ended = subprocess.run([*IM2REC, "-h"], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    options = "--list --exts --chunks --train-ratio --test-ratio --recursive --no-shuffle --pass-through --resize "
    options += "--center-crop --quality --num-thread --color --encoding --pack-label prefix root"
    assert all(option in ended.stdout for option in options.split())
