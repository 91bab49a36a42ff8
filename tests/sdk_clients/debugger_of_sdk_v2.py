"""What the SageMaker SDK v2 sends of each use of Debugger, written as the write-up has it: RESULT, as JSON.

Nothing is sent: the request is taken where the estimator would hand it to AWS, and telemetry finds a closed port.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import boto3
import smdebug_rulesconfig
from sagemaker import Session
from sagemaker.debugger import (
    CollectionConfig,
    DebuggerHookConfig,
    FrameworkProfile,
    ProfilerConfig,
    ProfilerRule,
    Rule,
    rule_configs,
)
from sagemaker.estimator import Estimator

os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"
FIELDS = ("DebugHookConfig", "DebugRuleConfigurations", "ProfilerConfig", "ProfilerRuleConfigurations")
TENSOR_RULES = (
    rule_configs.vanishing_gradient,
    rule_configs.exploding_tensor,
    rule_configs.poor_weight_initialization,
    rule_configs.dead_relu,
    rule_configs.loss_not_decreasing,
    rule_configs.overfit,
    rule_configs.overtraining,
    rule_configs.class_imbalance,
)


def sent(region: str = "us-east-1", **settings: Any) -> dict[str, Any]:
    boto = boto3.Session(region_name=region, aws_access_key_id="local", aws_secret_access_key="local")
    client = MagicMock()
    session = Session(boto_session=boto, sagemaker_client=client, default_bucket="models-of-acme")
    estimator = Estimator(
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/training:1",
        role="arn:aws:iam::123456789012:role/training",
        instance_count=1,
        instance_type="ml.g5.xlarge",
        output_path="s3://models-of-acme/jobs",
        sagemaker_session=session,
        **settings,
    )
    estimator.fit(wait=False)
    request = client.create_training_job.call_args.kwargs
    return {field: request[field] for field in FIELDS if field in request}


def write_up() -> dict[str, Any]:
    return {
        "rules": [
            ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
            Rule.sagemaker(rule_configs.vanishing_gradient()),
            Rule.sagemaker(rule_configs.overfit()),
            Rule.sagemaker(rule_configs.overtraining()),
            Rule.sagemaker(rule_configs.poor_weight_initialization()),
            Rule.sagemaker(
                base_config=rule_configs.class_imbalance(),
                rule_parameters={"labels_regex": "CrossEntropyLoss_input_1"},
            ),
        ],
        "profiler_config": ProfilerConfig(
            system_monitor_interval_millis=500, framework_profile_params=FrameworkProfile(num_steps=10)
        ),
        "debugger_hook_config": DebuggerHookConfig(
            hook_parameters={"train.save_interval": "100", "eval.save_interval": "10"}
        ),
    }


outputs = CollectionConfig(name="outputs", parameters={"include_regex": ".*output"})
gradients = CollectionConfig(name="gradients", parameters={"save_interval": "50"})
uses = {
    "the write-up": sent(**write_up()),
    "the write-up elsewhere": sent(region="eu-central-1", **write_up()),
    "every rule": sent(rules=[Rule.sagemaker(made()) for made in TENSOR_RULES]),
    "collections": sent(
        rules=[Rule.sagemaker(rule_configs.vanishing_gradient(), collections_to_save=[gradients])],
        debugger_hook_config=DebuggerHookConfig(collection_configs=[outputs]),
    ),
    "report": sent(
        rules=[
            ProfilerRule.sagemaker(rule_configs.ProfilerReport(CPUBottleneck_threshold=60, StepOutlier_mode="TRAIN"))
        ]
    ),
    "framework": sent(profiler_config=ProfilerConfig(framework_profile_params=FrameworkProfile(start_step=5))),
    "no profiler": sent(rules=[Rule.sagemaker(rule_configs.overfit())], disable_profiler=True),
}
profiled = {
    name: [*rule().rule_parameters]
    for name, rule in vars(smdebug_rulesconfig.profiler_rules.rules).items()
    if isinstance(rule, type) and name not in ("ProfilerRuleBase", "ProfilerReport")
}
Path(sys.argv[1]).write_text(json.dumps({"sent": uses, "profiled": profiled}, default=list))
