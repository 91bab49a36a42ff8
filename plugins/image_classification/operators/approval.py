"""The operator that waits for a person's approval of a registered model.

Sources: the standard provider's `HITLOperator` and `ApprovalOperator`; Airflow 3.3 parks such a task in the state
`awaiting_input`, without a worker and without the triggerer, and its scheduler answers with the default in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import AssetAlias, Param

from image_classification.context import RunningTask
from image_classification.links import s3_page
from image_classification.notify import MODEL, announce

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.deployment.registry import RegisteredModel
    from include.run_conf import RunConf

REASON = "reason"
Idle = Callable[["RunConf", "RegisteredModel"], Sequence[str]]


class ModelApprovalOperator(ApprovalOperator):
    """Asks a person whether a registered model may be deployed, and hands the model on as it is then.

    Nobody is asked if `promotion.approval` is automatic, if the model was refused, or if it is decided already. A no is
    an answer and fails nothing: the model that is passed on is not approved, so nothing deploys it. If a person was
    asked, the model as it is then is an event of the asset `image-model`.

    :param idle: names the tasks directly after this one that have nothing to do for the model, and are left out
    :param inputs: the documents `conf`, `evaluation` and `model` of earlier tasks (templated)
    """

    template_fields = ("inputs",)
    ui_color = "#f2e6d9"

    def __init__(self, *, inputs: Mapping[str, Any], idle: Idle = lambda *_: (), **kwargs: Any) -> None:
        reason = Param(
            "", type=["string", "null"], title="Reason", description="Kept with the version in the registry."
        )
        # An alias has an event only if the task adds one; an asset would have one each time the task succeeds.
        self.decisions = AssetAlias(f"{MODEL.name}-decision", group=MODEL.group)
        super().__init__(
            subject="A model waits for approval",
            defaults=self.REJECT,
            params={REASON: reason},
            outlets=[self.decisions],
            **kwargs,
        )
        self.inputs = inputs
        self.idle = idle

    def execute(self, context: Context) -> Any:
        """Ask, unless there is nothing to ask."""
        from include.evaluation.metrics import Evaluation
        from include.promotion.verdict import question
        from include.run_conf import RunConf

        running, conf = RunningTask.of(context), RunConf.from_conf(self.inputs["conf"])
        model = self._model(running)
        named = f"{model.group} version {model.version}"
        if conf.promotion.approval == "automatic":
            self.log.info("promotion.approval is automatic: %s is %s.", named, model.approval)
        elif model.verdict == "refused":
            self.log.warning("%s was refused, so no person is asked: %s", named, model.reason)
            self.log.warning("review_model can still approve it.")
        elif model.approval != "PendingManualApproval":
            self.log.info("%s is decided: %s. %s", named, model.approval, model.reason)
        else:
            measured = Evaluation.model_validate(self.inputs["evaluation"])
            report = s3_page(running.settings, measured.report_uri)
            self.subject, self.body = question(conf, measured, model, report=report)
            self.response_timeout = timedelta(hours=conf.promotion.approval_hours)
            self.log.info("%s\n%s", self.subject, self.body)
            super().execute(context)
        return self._hand_on(running, conf, model)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Write the answer into the registry; without one in time the model stays pending."""
        from include.deployment.registry import decided
        from include.evaluation.metrics import Evaluation
        from include.promotion.verdict import Decision, changed_champion, not_answered, write_decision
        from include.run_conf import RunConf

        # ApprovalOperator's own would skip the tasks after a no, which have to know of it.
        answer = HITLOperator.execute_complete(self, context, event)
        running, conf = RunningTask.of(context), RunConf.from_conf(self.inputs["conf"])
        sagemaker, settings, model = running.client("sagemaker"), running.settings, self._model(running)
        if model.approval != "PendingManualApproval":
            self.log.info("It was decided elsewhere in the meantime: %s. %s", model.approval, model.reason)
            return self._hand_on(running, conf, model)
        if event.get("timedout"):
            return self._announce(running, conf, decided(sagemaker, model, model.approval, not_answered(conf, model)))
        who = (answer.get("responded_by_user") or {}).get("name") or ""
        said = (answer.get("params_input") or {}).get(REASON) or ""
        decision = Decision(answer["chosen_options"] == [self.APPROVE], who, str(said).strip())
        compared = Evaluation.model_validate(self.inputs["evaluation"]).champion
        changed = changed_champion(sagemaker, conf=conf, settings=settings, dataset=model.dataset, compared=compared)
        if decision.approved and changed:
            undecided = decided(sagemaker, model, model.approval, f"{decision} But {changed}.")
            return self._announce(running, conf, undecided)
        return self._announce(running, conf, write_decision(sagemaker, model, decision, settings=settings))

    def _announce(self, running: RunningTask, conf: RunConf, model: RegisteredModel) -> dict[str, Any]:
        """The model as it is after a person was asked; people are notified of one that is not deployed."""
        running.airflow["outlet_events"][self.decisions].add(MODEL, extra=model.as_event())
        if not model.approved:
            self.log.warning("It is %s and is not deployed: %s", model.approval, model.reason)
            links = {"Report": model.report, "Model": model.artifact}
            announce(running, "refused", f"{model.dataset} v{model.version}: {model.reason}", links=links)
        return self._hand_on(running, conf, model)

    def _hand_on(self, running: RunningTask, conf: RunConf, model: RegisteredModel) -> dict[str, Any]:
        running.leave_out(*self.idle(conf, model))
        return model.model_dump(mode="json")

    def _model(self, running: RunningTask) -> RegisteredModel:
        """The version as it is now: an earlier try, or `review_model`, may have decided."""
        from include.deployment.registry import read_model

        return read_model(running.client("sagemaker"), self.inputs["model"]["arn"])
