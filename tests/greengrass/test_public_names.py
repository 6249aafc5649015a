"""The package exports its public names without awsiotsdk, which is imported when a connection is created."""

import subprocess
import sys

import beeagent.greengrass as package
import pytest
from beeagent.errors import InputError


def test_public_names_exist() -> None:
    for name in package.__all__:
        assert hasattr(package, name)
    assert not hasattr(package, "no_such_name")


def test_awsiotsdk_is_imported_by_no_module() -> None:
    script = (
        "import sys, pkgutil, importlib, beeagent.cli.app, beeagent.greengrass as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module('beeagent.greengrass.' + module.name)\n"
        "assert not {'awsiot', 'awscrt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_missing_awsiotsdk_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "awsiot.eventstreamrpc", None)
    monkeypatch.setitem(sys.modules, "awsiot", None)
    with pytest.raises(InputError, match=r"not installed: pip install '\.\[greengrass\]'"):
        package.IpcConnection(package.IpcAddress("", ""), on_rejected=lambda _: None)
