"""The image of the built-in algorithm in every region that the SageMaker SDK v3 knows: JSON, written to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sagemaker.core import image_uris

algorithm, result = sys.argv[1:]
regions = {
    region
    for version in image_uris.config_for_framework(algorithm)["versions"].values()
    for region in version["registries"]
}
uris = {region: image_uris.retrieve(algorithm, region=region) for region in regions}
Path(result).write_text(json.dumps(uris))
