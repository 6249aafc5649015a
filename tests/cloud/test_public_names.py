"""The package exports its public names lazily, without importing boto3."""

import subprocess
import sys

import beeagent.cloud as package


def test_public_names_exist() -> None:
    for name in package.__all__:
        assert hasattr(package, name)
    assert not hasattr(package, "no_such_name")


def test_boto3_is_imported_only_by_the_modules_that_call_aws() -> None:
    script = (
        "import sys, pkgutil, importlib, beeagent.cli.app, beeagent.cloud as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    if module.name not in ('rekognition', 'model_lifecycle'):\n"
        "        importlib.import_module('beeagent.cloud.' + module.name)\n"
        "assert not {'boto3', 'botocore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
