"""Script mode as the notebooks on the SageMaker SDK v2 use it, trained, deployed and asked: RESULT FOLDER BUCKET."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.pytorch import PyTorch
from sagemaker.serializers import JSONSerializer

result, folder, bucket = sys.argv[1:]
estimator = PyTorch(
    entry_point="train.py",
    source_dir=folder,
    role="arn:aws:iam::123456789012:role/training",
    instance_count=1,
    instance_type="ml.m5.large",
    framework_version="2.6",
    py_version="py312",
    hyperparameters={"epochs": 2, "lr": 0.5},
    metric_definitions=[{"Name": "loss", "Regex": r"loss=(\S+)"}],
    sagemaker_session=sagemaker.Session(default_bucket=bucket),
)
estimator.fit({"train": f"s3://{bucket}/train/"}, logs=False)
predictor = estimator.deploy(
    1, "ml.m5.large", entry_point="inference.py", serializer=JSONSerializer(), deserializer=JSONDeserializer()
)
answer = predictor.predict([1, 2])
predictor.delete_endpoint()
Path(result).write_text(json.dumps({"job": estimator.latest_training_job.name, "answer": answer}))
