"""A script of one's own through ModelTrainer(source_code=...) of the SageMaker SDK v3: RESULT FOLDER BUCKET."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sagemaker.core.helper.session_helper import Session
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode

result, folder, bucket = sys.argv[1:]
trainer = ModelTrainer(
    training_image="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312-ubuntu22.04-sagemaker",
    source_code=SourceCode(source_dir=folder, entry_script="train.py", requirements="requirements.txt"),
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    hyperparameters={"epochs": 2, "lr": 0.5},
    role="arn:aws:iam::123456789012:role/training",
    base_job_name="source-code",
    sagemaker_session=Session(default_bucket=bucket),
)
trainer.train(
    input_data_config=[InputData(channel_name="train", data_source=f"s3://{bucket}/train/")], wait=True, logs=False
)
job = trainer._latest_training_job
Path(result).write_text(
    json.dumps(
        {
            "name": job.training_job_name,
            "status": job.training_job_status,
            "artifact": job.model_artifacts.s3_model_artifacts,
        }
    )
)
