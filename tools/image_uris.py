"""Writes include/sagemaker/image_uris.json, the addresses of AWS's containers, from what the `sagemaker` SDK says.

    .venv-sagemaker/bin/python tools/image_uris.py [FILE]      `make image-uris`

The SDK is the only published source of these addresses. Airflow's environment does without it: it brings a dozen
packages, takes seconds to import, and pins some that Airflow pins in another way.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sagemaker.core import image_uris

TABLE = Path(__file__).resolve().parent.parent / "include" / "sagemaker" / "image_uris.json"
ALGORITHM = "image-classification"


def main(arguments: list[str]) -> None:
    """Write the table to the file that the first argument names."""
    table = {"source": f"sagemaker-core {version('sagemaker-core')}", "images": {ALGORITHM: algorithm(ALGORITHM)}}
    (Path(arguments[0]) if arguments else TABLE).write_text(json.dumps(table, indent=2) + "\n")


def algorithm(name: str) -> dict[str, Any]:
    """A built-in algorithm: the newest tag of its image, and the host of the registry that holds it, by region."""
    versions = image_uris.config_for_framework(name)["versions"]
    tag = max(versions, key=int)
    hosts = {}
    for region in sorted(versions[tag]["registries"]):
        hosts[region], _, image = image_uris.retrieve(name, region=region, version=tag).partition("/")
        if image != f"{name}:{tag}":
            raise SystemExit(f"The SDK names the image {image!r} in {region}, where {name}:{tag} was expected.")
    return {"tag": tag, "registries": hosts}


if __name__ == "__main__":
    main(sys.argv[1:])
