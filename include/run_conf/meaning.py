"""Which field, or which value, a person meant who wrote another: by the names in use elsewhere, or by likeness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from include.problems import LONGEST_NAME, nearest
from include.run_conf.hyperparameters import TABLE

if TYPE_CHECKING:
    from include.run_conf.fields import ConfField

FIELDS_BY_OTHER_NAMES: Mapping[str, str] = {
    **{row.name: row.other_names for row in TABLE},
    # SageMaker's SDK, API and command line
    "resources.instance_type": "instance machine machine_type train_instance_type training_instance_type "
    "training_instance ec2_instance_type vm_type gpu_type node_type",
    "resources.instance_count": "instances num_instances machines num_machines nodes num_nodes n_nodes "
    "train_instance_count training_instance_count world_size",
    "resources.volume_gb": "volume volume_size volume_size_in_gb train_volume_size disk disk_size disk_gb storage_gb",
    "resources.max_runtime_seconds": "max_run max_runtime max_run_time max_runtime_in_seconds train_max_run timeout "
    "max_duration",
    "resources.max_wait_seconds": "max_wait max_wait_time_in_seconds train_max_wait",
    "resources.spot": "use_spot use_spot_instances spot_instances train_use_spot_instances managed_spot_training "
    "enable_managed_spot_training spot_training",
    "resources.max_cost": "budget max_price cost_limit max_cost_usd max_usd price_limit",
    "tuning.max_jobs": "max_trials n_trials num_trials max_training_jobs max_number_of_training_jobs n_jobs jobs "
    "n_iter",
    "tuning.max_parallel_jobs": "max_parallel parallel_jobs max_parallel_training_jobs "
    "max_number_of_parallel_training_jobs parallelism",
    "tuning.ranges": "hyperparameter_ranges parameter_ranges search_space param_grid param_distributions space "
    "hyperparameters_to_tune",
    "tuning.strategy": "search_strategy search_algorithm tuning_strategy sampler",
    "tuning.early_stopping": "early_stopping_type training_job_early_stopping_type",
    "tuning.completion.target": "target_objective_metric_value target_metric target_accuracy stop_at",
    "tuning.warm_start.from": "warm_start parents parent parent_jobs parent_hyperparameter_tuning_jobs",
    "training.algorithm.source": "source_dir source_directory code_dir code_location submit_directory git_config",
    "training.algorithm.entry_point": "entry_script script script_name train_script training_script",
    "training.algorithm.inference_entry_point": "inference_script inference_code",
    "training.algorithm.framework_version": "pytorch_version torch_version transformers_version",
    "training.algorithm.image": "image_uri training_image train_image container_image ecr_image",
    "training.algorithm.train_arguments": "container_arguments arguments args command",
    "training.algorithm.metric_definitions": "metrics metric_regex",
    "objective.metric": "objective_metric objective_metric_name metric_name",
    "objective.direction": "objective_type",
    "training.trials": "runs experiments variants base_jobs",
    "training.mode": "training_mode run_mode tune_mode",
    "promotion.minimum_accuracy": "min_accuracy min_acc accuracy_threshold threshold required_accuracy accuracy",
    "endpoint.name": "endpoint_name",
    "endpoint.instance_type": "endpoint_instance_type deploy_instance_type deployment_instance_type "
    "inference_instance_type hosting_instance_type serving_instance_type",
    "endpoint.instance_count": "initial_instance_count endpoint_instance_count",
    "endpoint.rollout.kind": "traffic_routing traffic_routing_type rollout_type deployment_strategy update_policy",
    "endpoint.rollout.size_percent": "canary_size linear_step_size step_size batch_size_percent maximum_batch_size "
    "canary_percent",
    "endpoint.rollout.wait_seconds": "wait_interval_in_seconds bake_time baking_period wait_interval termination_wait "
    "termination_wait_in_seconds",
    "endpoint.serverless.memory_mb": "memory_size_in_mb memory memory_size serverless_memory",
    "endpoint.serverless.concurrency": "max_concurrency concurrent_requests serverless_concurrency",
    "endpoint.capture_percent": "data_capture data_capture_config capture sampling_percentage "
    "initial_sampling_percentage",
    "endpoint.autoscaling.minimum": "min_capacity min_instances minimum_instances autoscaling_min",
    "endpoint.autoscaling.maximum": "max_capacity max_instances maximum_instances autoscaling_max",
    "endpoint.autoscaling.target": "target_value invocations_per_instance target_invocations autoscaling_target",
    "endpoint.keep": "keep_endpoint delete_endpoint tear_down teardown",
    "endpoint.deploy": "deploy_endpoint auto_deploy deploy_model",
    # data
    "dataset.negatives": "negative negative_images background background_images empty_images",
    "dataset.ground_truth.label_attribute": "label_attribute_name attribute_name label_attribute",
    "dataset.ground_truth.minimum_confidence": "min_confidence confidence confidence_threshold least_confidence "
    "minimum_confidence",
    "dataset.ground_truth.human_annotated_only": "human_annotated human_only only_human human_labels_only",
    "dataset.name": "dataset_name data_name",
    "dataset.source": "bucket s3_bucket s3_uri s3_path s3_data s3_input s3_prefix prefix uri url data_path data_dir "
    "data_url data_source input_path input_data train_data images images_path image_dir image_folder root folder path",
    "dataset.labels": "classes class_names categories label_names label_set class_list names",
    "dataset.labels_file": "classes_file class_file label_file names_file label_map",
    "dataset.label_tables": "label_table labels_csv csv table tables annotations annotation_file lst ground_truth_csv",
    "dataset.image_list": "file_list paths s3_paths image_paths",
    "dataset.max_bad_fraction": "max_bad bad_fraction max_bad_images",
    "dataset.multi_label": "multilabel multi_labels",
    "dataset.version": "dataset_version data_version",
    "split.train": "train_split train_ratio train_fraction train_size train_share",
    "split.validation": "val val_split validation_split val_ratio valid valid_pct val_size val_share "
    "validation_fraction",
    "split.test": "test_split test_ratio test_size test_fraction test_share holdout",
    "split.seed": "random_seed random_state split_seed",
    "split.train_per_class": "images_per_class train_images_per_class samples_per_class",
    "packing.resize": "resize_to resize_short size",
    "packing.center_crop": "centre_crop crop_center",
    "packing.quality": "jpeg_quality jpg_quality",
    "packing.color": "colour grayscale greyscale gray grey color_mode",
    "packing.shard_images": "shard_size images_per_shard",
    # sections
    "dataset": "data datasets",
    "training": "train",
    "training.hyperparameters": "hyperparams hparams hyper_parameters hp params model algorithm",
    "resources": "resource resource_config compute",
    "tuning": "tune tuner hpo hyperparameter_tuning",
    "incremental": "incremental_training finetuning fine_tuning",
    "promotion": "promote gate approval",
    "endpoint": "deployment hosting serving",
    "endpoint.autoscaling": "auto_scaling scaling autoscale scaling_policy",
    "endpoint.serverless": "serverless_config serverless_inference",
    "endpoint.rollout": "deployment_config roll_out traffic blue_green",
    "dataset.split": "splits split_ratio",
    "dataset.packing": "pack packaging recordio",
}
"""The field, or the end of its name, and what it is called elsewhere."""
ALMOST = 0.88
"""How much of a machine's name a misspelling shares with it: all such names are much alike."""
SETTINGS_BY_OTHER_NAMES: Mapping[str, str] = {
    "data_bucket": "bucket s3_bucket input_bucket images_bucket source_bucket",
    "output_bucket": "model_bucket models_bucket artifact_bucket results_bucket",
    "execution_role_arn": "role role_arn execution_role sagemaker_role sagemaker_role_arn",
    "region": "aws_region region_name default_region",
    "queue_url": "queue sqs_queue sqs_queue_url sqs_url",
    "kms_key_id": "kms_key kms key_id encryption_key kms_key_arn",
    "aws_conn_id": "conn_id connection connection_id aws_connection",
    "security_group_ids": "security_groups sg_ids",
    "subnets": "subnet_ids vpc_subnets",
    "network_isolation": "enable_network_isolation isolation",
    "poll_seconds": "poll_interval poke_interval polling_seconds",
    "keep_alive_seconds": "keep_alive keep_alive_period keep_alive_period_in_seconds warm_pool",
    "image_uri": "image training_image container container_image ecr_image",
    "registry_group_prefix": "registry_group model_package_group",
}
"""The setting of the installation, and what it is called elsewhere."""
SETTINGS = {
    *SETTINGS_BY_OTHER_NAMES,
    *("archive_max_gb", "archive_max_ratio", "endpoint_check_cron", "imagenet_weights", "lines", "notify"),
    *("notify_arguments", "owner", "prices", "retraining_cron", "source_networks", "tags"),
}
"""What an installation sets and no run asks for."""
DERIVED = {"num_classes", "num_training_samples"}
DERIVED_BY_OTHER_NAMES = (
    "num_labels n_classes nb_classes num_class class_count number_of_classes num_samples n_samples num_train_samples "
    "train_samples num_images training_samples"
)


def _reversed(names: Mapping[str, str]) -> dict[str, str]:
    return {plain(other): name for name, others in names.items() for other in others.split()}


def plain(name: str) -> str:
    """A name as it is compared: `learningRate`, `learning-rate` and `learning_rate` are the same."""
    return re.sub(r"[\W_]+", "", name).casefold()


_MEANT = _reversed(FIELDS_BY_OTHER_NAMES)
_MEANT_SETTINGS = _reversed(SETTINGS_BY_OTHER_NAMES)
_DERIVED = {plain(name) for name in (*DERIVED, *DERIVED_BY_OTHER_NAMES.split())}


def is_derived(name: str) -> bool:
    """Whether the last part of a name is a hyperparameter that follows from the dataset version."""
    return plain(name.rpartition(".")[2]) in _DERIVED


def meant_field(name: str, known: Iterable[str]) -> str | None:
    """The known field or section that an unknown dotted name stands for, None if no name is near.

    A field of the section in which it was written comes first.
    """
    names = list(known)
    section, _, leaf = name.rpartition(".")
    by_leaf = [field for field in names if plain(field.rpartition(".")[2]) == plain(leaf)]
    other = _MEANT.get(plain(leaf)) or _MEANT.get(plain(name)) or ""
    by_meaning = [field for field in names if other and field.rpartition(".")[2] == other.rpartition(".")[2]]
    for found in (by_leaf, by_meaning):
        if found:
            return min(found, key=lambda field: _distance(field, section, other))
    for near in ([field for field in names if field.rpartition(".")[0] == section], names):
        leaves = {field.rpartition(".")[2]: field for field in reversed(near)}
        if likely := nearest(leaf, leaves):
            return leaves[likely]
    return None


def named_setting(name: str) -> str | None:
    """The setting of the installation that is called so, None if none is."""
    return next((setting for setting in SETTINGS if plain(setting) == plain(name)), None) if "." not in name else None


def meant_setting(name: str, known: Iterable[str]) -> str | None:
    """The setting that an unknown one stands for, None if no name is near."""
    settings = {plain(each): each for each in known}
    return settings.get(plain(name)) or _MEANT_SETTINGS.get(plain(name)) or nearest(name, settings.values())


def _distance(field: str, section: str, other: str) -> tuple[bool, bool]:
    outside = bool(section) and not field.startswith(f"{section}.")
    return outside, not f".{field}".endswith(f".{other}")


def meant_value(field: ConfField, value: Any) -> str | None:
    """The value that a text stands for which a field refuses, None if no value is near."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return None
    leaf = field.name.rpartition(".")[2]
    if leaf == "image_shape":
        return meant_shape(value)
    if leaf == "instance_type":
        return meant_machine(value, _machines(field, value))
    if "enum" in field.schema:
        return nearest(value, [str(choice) for choice in field.schema["enum"]])
    if field.kind in ("integer", "number"):
        return meant_number(value, whole=field.kind == "integer")
    return None


def meant_machine(text: str, offered: Iterable[str]) -> str | None:
    """The offered machine that a text such as `g4dn.xlarge` or `ml.g4dn.xlrage` stands for.

    A family that is spelt right is kept.
    """
    name = text.casefold() if text.casefold().startswith("ml.") else f"ml.{text.casefold()}"
    types = list(offered)
    family = [each for each in types if each.rpartition(".")[0] == name.rpartition(".")[0]]
    return name if name in types else nearest(name, family, like=0.5) or nearest(name, types, like=ALMOST)


def _machines(field: ConfField, named: str) -> Iterable[str]:
    """The machines that a field takes; none of them was meant if the named one exists."""
    from include.sagemaker.containers import instance_types  # noqa: PLC0415 - DAG files, which need none, read this

    pattern = re.compile(str(field.schema["pattern"]))
    types = instance_types("TrainingInstanceType")
    return [] if named in types else [name for name in types if pattern.match(name)]


def meant_shape(text: str) -> str | None:
    """The image shape that a text such as `28x28` or `224, 224, 3` stands for."""
    numbers = re.findall(r"\d{1,5}", text)
    if re.sub(r"[\d\s,;:x\u00d7*()\[\]]", "", text.casefold()) or not 1 <= len(numbers) <= 3 or "0" in numbers:
        return None
    if len(numbers) == 3:
        channels_last = numbers[2] in ("1", "3") and numbers[0] not in ("1", "3")
        return ",".join([numbers[2], *numbers[:2]] if channels_last else numbers)
    return ",".join(["3", numbers[0], numbers[-1]])


def meant_number(text: str, *, whole: bool) -> str | None:
    """The number that a text such as `0,001` or `1,000` stands for."""
    if re.fullmatch(r"[+-]?\d{0,9},\d{1,9}", text) and not whole:
        return text.replace(",", ".")
    if re.fullmatch(r"\d{1,3}([,' ]\d{3}){1,3}", text) and whole:
        return re.sub(r"\D", "", text)
    if percent := re.fullmatch(r"(\d{1,2}(\.\d+)?) ?%", text):
        return f"{float(percent[1]) / 100:g}" if not whole else None
    return None
