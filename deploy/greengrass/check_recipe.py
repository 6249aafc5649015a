"""Check a filled recipe: `python deploy/greengrass/check_recipe.py RECIPE.yaml ...`.

A nucleus lite is case-sensitive and ignores unknown keys, and AWS's own schema does not detect typing errors. So they
would appear only on the device, if at all. The recipe also must not permit more than the agent uses.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from beeagent.errors import InputError, validation_problems
from beeagent.messages import detections_topic, events_topic, state_topic, status_topic, traffic_topic
from beeagent.settings import load_settings, settings_by_name
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_MAX_BYTES: Final = 16_000  # https://docs.aws.amazon.com/general/latest/gr/greengrassv2.html
_CREDENTIALS: Final = "aws.greengrass.TokenExchangeService"
_SECRETS: Final = "aws.greengrass.SecretManager"
_GET_SECRET: Final = "aws.greengrass#GetSecretValue"  # noqa: S105 - an operation
_SECRET_ARN: Final = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+")
_VARIABLES: Final = ("{artifacts:path}", "{work:path}")  # variables that every nucleus replaces


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Platform(_Part):
    os: Literal["linux"]
    runtime: Literal["*"]  # otherwise a nucleus lite ignores the manifest
    architecture: Literal["aarch64", "amd64", "arm"]


class _Step(_Part):
    Script: str
    Timeout: int | None = None
    Setenv: dict[str, str] | None = None


class _Lifecycle(_Part):
    install: _Step
    run: _Step


class _Artifact(_Part):
    URI: str


class _Manifest(_Part):
    Platform: _Platform
    Lifecycle: _Lifecycle
    Artifacts: list[_Artifact]


class _Policy(_Part):
    policyDescription: str  # noqa: N815 - the recipe's name
    operations: list[str]
    resources: list[str]


class _Dependency(_Part):
    VersionRequirement: str
    DependencyType: Literal["HARD", "SOFT"] = "HARD"


class _Defaults(BaseModel):
    model_config = ConfigDict(extra="allow")  # the settings, which `load_settings` checks
    accessControl: dict[str, dict[str, _Policy]] = {}  # noqa: N815 - the recipe's name

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class _Configuration(_Part):
    DefaultConfiguration: _Defaults


class _Recipe(_Part):
    RecipeFormatVersion: Literal["2020-01-25"]
    ComponentName: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    ComponentVersion: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    ComponentDescription: str | None = None
    ComponentPublisher: str | None = None
    ComponentDependencies: dict[str, _Dependency] = {}
    ComponentConfiguration: _Configuration
    Manifests: list[_Manifest]

    @property
    def defaults(self) -> _Defaults:
        return self.ComponentConfiguration.DefaultConfiguration


def findings(text: str) -> list[str]:
    """Return the defects of a recipe, one line each; empty if it is valid.

    Args:
        text: the filled recipe, in YAML.
    """
    try:
        recipe = _Recipe.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        return [f"this is not YAML: {' '.join(str(error).split())}"]
    except ValidationError as error:
        return validation_problems(error)
    size = len(text.encode())
    too_long = [f"the recipe has {size} bytes, and Greengrass accepts {_MAX_BYTES}"] if size > _MAX_BYTES else []
    return [*too_long, *_dependencies(recipe), *_settings(recipe, text), *_access_control(recipe), *_manifests(recipe)]


def _dependencies(recipe: _Recipe) -> Iterator[str]:
    needed = {_CREDENTIALS} if "rekognition_project_version_arn" in recipe.defaults.settings else set[str]()
    needed |= recipe.defaults.accessControl.keys() & {_SECRETS}
    if recipe.ComponentDependencies.keys() != needed:
        yield f"ComponentDependencies are {sorted(recipe.ComponentDependencies)}, and the agent needs {sorted(needed)}"


def _settings(recipe: _Recipe, text: str) -> Iterator[str]:
    defaults = recipe.defaults.settings
    try:
        load_settings(defaults, config=None)
    except (InputError, TypeError) as error:
        yield f"DefaultConfiguration: {error}"
    for key, value in defaults.items():
        if isinstance(value, str) and "{" in value:
            yield f"DefaultConfiguration: {key} is {value!r}, and no nucleus replaces recipe variables there"
    if "mqtt_password" in defaults:
        yield "DefaultConfiguration has a mqtt_password: everybody who may read the recipe can read it"
    commented = yaml.safe_load("\n".join(re.findall(r"^    # ([a-z_]+: .*)$", text, re.MULTILINE))) or {}
    known = settings_by_name()
    for key, setting in known.items():
        default = setting.default
        if key in defaults:
            continue
        if key not in commented and key != "rekognition_project_version_arn":
            yield f"DefaultConfiguration lists {key} neither as a value nor as a comment"
        elif commented.get(key) != default:
            yield f"DefaultConfiguration says that the default of {key} is {commented.get(key)!r}: it is {default!r}"
    for key in commented.keys() - known.keys():
        yield f"DefaultConfiguration lists {key}, which is not a setting"


def _needed_permissions(settings: Mapping[str, Any]) -> dict[str, dict[str, set[str]]]:
    """Return the operations that the agent uses, with their topics, by service."""
    prefix, camera = settings.get("topic_prefix", "beeagent"), settings.get("camera_name", "camera")
    local = settings.get("broker") == "greengrass://local"
    # Local pubsub does not support the wildcard of MQTT, and `{iot:thingName}` does not work everywhere.
    topics = (
        detections_topic(prefix, "thing", camera),
        traffic_topic(prefix, "thing", camera),
        events_topic(prefix, "thing", camera),
        state_topic(prefix, "thing", camera),
        status_topic(prefix, "thing"),
    )
    *results, state, status = (
        topic.replace(f"{prefix}/thing/", f"{prefix}/{'*' if local else '+'}/", 1) for topic in topics
    )
    if local:
        return {"aws.greengrass.ipc.pubsub": {"aws.greengrass#PublishToTopic": {*results, state, status}}}
    if settings.get("broker") != "greengrass://iot-core":
        return {}
    return {
        "aws.greengrass.ipc.mqttproxy": {
            "aws.greengrass#PublishToIoTCore": {*results, state, status},
            "aws.greengrass#SubscribeToIoTCore": set(results),
        }
    }


def _access_control(recipe: _Recipe) -> Iterator[str]:
    needed = _needed_permissions(recipe.defaults.settings)
    permitted: dict[str, dict[str, set[str]]] = {}
    for service, policies in recipe.defaults.accessControl.items():
        operations = permitted.setdefault(service, {})
        for name, policy in policies.items():
            if not name.startswith(f"{recipe.ComponentName}:"):
                yield f"accessControl {name}: names must be unique on the device, so it must begin with the component's"
            for operation in policy.operations:
                operations.setdefault(operation, set()).update(policy.resources)
    secrets = permitted.pop(_SECRETS, {})
    if secrets.keys() - {_GET_SECRET}:
        yield f"accessControl permits {sorted(secrets)}, and the agent needs {_GET_SECRET} alone"
    for resource in secrets.get(_GET_SECRET, ()):
        if not _SECRET_ARN.fullmatch(resource):
            yield f"accessControl: {resource} is not the ARN of one secret"
    if permitted != needed:
        yield f"accessControl permits {_sorted(permitted)}, and the agent needs {_sorted(needed)}"


def _sorted(permissions: Mapping[str, Mapping[str, set[str]]]) -> dict[str, dict[str, list[str]]]:
    return {
        service: {operation: sorted(resources) for operation, resources in operations.items()}
        for service, operations in permissions.items()
    }


def _manifests(recipe: _Recipe) -> Iterator[str]:
    architectures = [manifest.Platform.architecture for manifest in recipe.Manifests]
    if len(set(architectures)) < len(architectures):
        yield f"Manifests are for {architectures}: each architecture can be there once"
    folder = f"/{recipe.ComponentName}/{recipe.ComponentVersion}/"
    for manifest in recipe.Manifests:
        steps = manifest.Lifecycle
        for step, script in (("install", steps.install.Script), ("run", steps.run.Script)):
            yield from _script(step, script, recipe.ComponentVersion)
        for artifact in manifest.Artifacts:
            if not re.fullmatch(rf"s3://[^/]+{re.escape(folder)}[^/]+", artifact.URI):
                yield f"artifact {artifact.URI} is not at s3://BUCKET{folder}"
            name = artifact.URI.rpartition("/")[2]
            if f"{{artifacts:path}}/{name} " not in steps.install.Script:
                yield f"artifact {name} is not what install runs"


def _script(step: str, script: str, version: str) -> Iterator[str]:
    for variable in re.findall(r"\{[^}]*\}?", script):
        if variable not in _VARIABLES:
            yield f"{step}: {variable} is not a recipe variable that every nucleus replaces: {_VARIABLES} are"
    if not script.startswith("exec ") or "\n" in script.strip():
        yield f"{step}: the script must be one line that begins with exec, or no signal reaches the agent"
    if "sudo" in script.split():
        yield f"{step}: the agent needs no sudo"
    if f"{{work:path}}/{version}" not in script:
        yield f"{step}: the folder must contain the version, as the previous one still runs during an update"


def main(paths: Sequence[str]) -> int:
    """Check each file, and return the exit code."""
    code = 0
    for path in paths:
        for finding in findings(Path(path).read_text(encoding="utf-8")):
            sys.stderr.write(f"{path}: {finding}\n")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
