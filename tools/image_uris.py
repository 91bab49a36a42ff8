"""Writes two tables of AWS's containers from what the `sagemaker` SDK says.

    .venv-sagemaker/bin/python tools/image_uris.py [FOLDER]      `make image-uris`

`include/sagemaker/image_uris.json` holds the addresses that this project sends, and
`local_aws/framework_images/images.json` the accounts whose images the local AWS runs as AWS's own.

The SDK is the only published source of these addresses. Airflow's environment does without it: it brings a dozen
packages, takes seconds to import, and pins some that Airflow pins in another way.
"""

from __future__ import annotations

import functools
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import botocore.loaders
from sagemaker.core import image_uris

# For each address the SDK makes a loader, and that reads a megabyte of endpoints: so it gets the same loader each time.
botocore.loaders.create_loader = functools.cache(botocore.loaders.create_loader)

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = Path("include", "sagemaker", "image_uris.json")
ACCOUNTS = Path("local_aws", "framework_images", "images.json")
ALGORITHM = "image-classification"
RULES = "sagemaker-debugger-rules"
"""The repository of the image that evaluates the rules of SageMaker Debugger."""
FRAMEWORK = "pytorch"
USES = ("training", "inference")
MACHINES = {"cpu": "ml.m5.large", "gpu": "ml.g5.xlarge"}
OLDEST = (2,)
"""Images of PyTorch before version 2 are no longer patched."""
RUNNABLE = {
    "pytorch-training": "train",
    "pytorch-inference": "serve",
    "pytorch-inference-graviton": "serve",
    "pytorch-inference-arm64": "serve",
}
"""What the images of a repository do, of those that the local AWS runs."""


def main(arguments: list[str]) -> None:
    """Write the tables below the folder that the first argument names."""
    root = Path(arguments[0]) if arguments else ROOT
    source = f"sagemaker-core {version('sagemaker-core')}"
    images = {ALGORITHM: image(ALGORITHM, repository=ALGORITHM), RULES: image("debugger", repository=RULES)}
    addresses = {"source": source, "images": {**images, **framework(FRAMEWORK)}}
    accounts = {"source": source, "repositories": {name: repository(name) for name in RUNNABLE}}
    for path, table in ((ADDRESSES, addresses), (ACCOUNTS, accounts)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(table, indent=2) + "\n")


def image(name: str, *, repository: str) -> dict[str, Any]:
    """An image that the SDK knows by name: its newest tag, and the host of the registry that holds it, by region."""
    versions = image_uris.config_for_framework(name)["versions"]
    tag = "latest" if "latest" in versions else max(versions, key=int)
    hosts = {}
    for region in sorted(versions[tag]["registries"]):
        hosts[region], _, found = image_uris.retrieve(name, region=region, version=tag).partition("/")
        if found != f"{repository}:{tag}":
            raise SystemExit(f"The SDK names the image {found!r} in {region}, where {repository}:{tag} was expected.")
    return {"tag": tag, "registries": hosts}


def framework(name: str) -> dict[str, Any]:
    """The repositories of a framework: Python's tag for each version, and the hosts of the newest one, by region."""
    found = {}
    for use in USES:
        repository = f"{name}-{use}"
        known = image_uris.config_for_framework(name)[use]["versions"]
        tags = {
            number: each["py_versions"][-1]
            for number, each in known.items()
            if each.get("repository") == repository and numbers(number) >= OLDEST
        }
        newest = max(tags, key=numbers)
        for number, python in tags.items():
            for processor, machine in MACHINES.items():
                asked = {"version": number, "py_version": python, "instance_type": machine, "image_scope": use}
                image = image_uris.retrieve(name, "us-east-1", **asked).partition("/")[2]
                if image != f"{repository}:{number}-{processor}-{python}":
                    raise SystemExit(f"The SDK names the image {image!r} for {asked}: its tag is made in another way.")
        asked = {"version": newest, "py_version": tags[newest], "image_scope": use, "instance_type": MACHINES["cpu"]}
        regions = sorted(known[newest]["registries"])
        hosts = {region: image_uris.retrieve(name, region, **asked).partition("/")[0] for region in regions}
        found[repository] = {"versions": tags, "registries": hosts}
    return found


def numbers(number: str) -> tuple[int, ...]:
    """The numbers of a version, by which versions are sorted."""
    return tuple(map(int, number.split(".")))


def repository(name: str) -> dict[str, Any]:
    """A repository of PyTorch images: what they do, and the account of the registry that holds it, by region."""
    scopes = image_uris.config_for_framework("pytorch").values()
    versions = [each for scope in scopes for each in scope["versions"].values() if each.get("repository") == name]
    accounts: dict[str, set[str]] = {}
    for each in versions:
        for region, account in each["registries"].items():
            accounts.setdefault(region, set()).add(account)
    doubtful = [region for region, known in accounts.items() if len(known) > 1]
    if doubtful or not accounts:
        raise SystemExit(f"The SDK names not one account of {name} by region: {doubtful or 'none'}.")
    return {"verb": RUNNABLE[name], "accounts": {region: account for region, (account,) in sorted(accounts.items())}}


if __name__ == "__main__":
    main(sys.argv[1:])
