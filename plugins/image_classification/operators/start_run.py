"""The operator that starts a run for a dataset, one at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import RunningTask

if TYPE_CHECKING:
    from airflow.sdk import Context


class StartRunOperator(TriggerDagRunOperator):
    """Starts a run for a dataset; skipped while another one has the dataset's turn.

    A run of this id that has ended is run again: what it was to do is not done, or it would not be asked for. So two
    checks of the same new images, or a second try of one check, start one run.

    :param dataset: the dataset whose turn the run takes
    :param once: a run of this id that has ended is not run again
    :param deadline_hours: people are notified if the run has not ended by then; a retraining sets its own
    """

    def __init__(
        self, *, dataset: str, once: bool = False, deadline_hours: float | None = None, **options: Any
    ) -> None:
        # Two runs that are started in the same second must not share a logical date: Airflow would refuse one.
        super().__init__(
            logical_date=None, skip_when_already_exists=True, openlineage_inject_parent_info=False, **options
        )
        self.dataset = dataset
        self.once = once
        self.deadline_hours = deadline_hours

    def execute(self, context: Context) -> None:
        """Take the turn of the dataset and start the run; raises AirflowSkipException if there is nothing to start."""
        from include.retraining import set_deadline, take_turn
        from include.sagemaker.naming import Run

        running, run = RunningTask.of(context), Run(self.trigger_dag_id, str(self.trigger_run_id))
        s3, bucket = running.client("s3"), running.settings.data_bucket
        holder = take_turn(s3, bucket, self.dataset, run, running.run_state)
        if holder != run:
            raise AirflowSkipException(
                f"{self.dataset}: {holder.run_id} of {holder.dag_id} has not ended. A later look takes the new images."
            )
        state = running.run_state(run)
        if state == "unfinished" or (self.once and state == "over"):
            raise AirflowSkipException(f"{self.dataset}: {run.run_id} was started already.")
        if self.deadline_hours:
            set_deadline(s3, bucket, self.dataset, run, datetime.now(UTC) + timedelta(hours=self.deadline_hours))
        self.reset_dag_run = state == "over"
        super().execute(context)
