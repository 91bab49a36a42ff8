"""Our build of a dataset version as processes: the whole in one, or a process for each task as the DAG has them.

    python -m benchmarks.datasets.our_build whole DOCUMENT
    python -m benchmarks.datasets.our_build plan|pack|publish DOCUMENT [SHARD]

DOCUMENT is a JSON file of a Build. The tasks hand each other the documents that Airflow would, in files beside it.
"""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from benchmarks.datasets.s3_server import s3_client
from include.datasets.packing import ShardResult, pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion, VersionPlan
from include.run_conf import DatasetConf

ARROW = pa.__version__
"""Arrow is loaded here, not deep within our modules' imports. Python 3.11 keeps its stack in pieces: if NumPy's imports
happen to begin at the end of a piece, every call allocates the next one and frees it, which takes 60 ms in all."""

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


class Build(BaseModel):
    """What to build, and how."""

    endpoint: str
    source: str
    run_id: str
    resize: int | None = 256
    shard_images: int = 2000
    shards_at_once: int = 2
    """As many as LocalExecutor has cores for; 1: one after the other."""
    parent: str | None = None

    @property
    def conf(self) -> DatasetConf:
        """The run conf of this build."""
        packing = {"resize": self.resize, "shard_images": self.shard_images}
        return DatasetConf.model_validate({"name": "benchmark", "source": [self.source], "packing": packing})

    def plan(self) -> VersionPlan:
        """Plan the version."""
        return plan_version(
            s3_client(self.endpoint),
            self.conf,
            data_bucket="data",
            run_id=self.run_id,
            run_after=WHEN,
            parent=self.parent,
        )

    def pack(self, plan: VersionPlan) -> list[ShardResult]:
        """Pack all shards."""
        client = s3_client(self.endpoint)
        with ThreadPoolExecutor(self.shards_at_once) as pool:
            return list(pool.map(lambda shard: pack_shard(client, plan, shard), plan.shards))

    def publish(self, plan: VersionPlan, results: list[ShardResult]) -> DatasetVersion:
        """Publish the version."""
        return publish_version(s3_client(self.endpoint), plan, results)

    def whole(self) -> DatasetVersion:
        """Plan, pack and publish."""
        plan = self.plan()
        return self.publish(plan, self.pack(plan))


def main(task: str, document: str, shard: str = "") -> None:
    """Carry out a task and leave its document, and the most memory that the process held, in MB, in `.peak`."""
    gc.freeze()  # Airflow's executors do so before they start the processes of tasks
    path = Path(document)
    carry_out(task, path, shard)
    # Not getrusage: its figure also counts what the parent held before this program was loaded.
    status = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    path.with_suffix(".peak").write_text(str(kilobytes / 1024))


def carry_out(task: str, path: Path, shard: str) -> None:
    """Carry out a task and leave its document."""
    build = Build.model_validate_json(path.read_text())
    plan_path = path.with_suffix(".plan")
    if task == "whole":
        path.with_suffix(".version").write_text(build.whole().model_dump_json())
    elif task == "plan":
        plan_path.write_text(build.plan().model_dump_json())
    elif task == "pack":
        plan = VersionPlan.model_validate_json(plan_path.read_text())
        chosen = [plan.shards[int(shard)]] if shard else plan.shards
        for one in chosen:
            result = pack_shard(s3_client(build.endpoint), plan, one)
            path.with_suffix(f".{one.index}").write_text(result.model_dump_json())
    else:
        plan = VersionPlan.model_validate_json(plan_path.read_text())
        texts = [path.with_suffix(f".{one.index}").read_text() for one in plan.shards]
        version = build.publish(plan, [ShardResult.model_validate_json(text) for text in texts])
        path.with_suffix(".version").write_text(version.model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
