"""The image of the built-in algorithm in every region that the SageMaker SDK v3 knows: JSON, written to a file."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import botocore.loaders
from sagemaker.core import image_uris

# For each address the SDK makes a loader, and that reads a megabyte of endpoints: so it gets the same loader each time.
botocore.loaders.create_loader = functools.cache(botocore.loaders.create_loader)

algorithm, result = sys.argv[1:]
regions = {
    region
    for version in image_uris.config_for_framework(algorithm)["versions"].values()
    for region in version["registries"]
}
uris = {region: image_uris.retrieve(algorithm, region=region) for region in regions}
Path(result).write_text(json.dumps(uris))
