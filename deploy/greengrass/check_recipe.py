"""Checks a filled recipe: `python deploy/greengrass/check_recipe.py RECIPE.yaml ...`.

A nucleus lite minds the case of each key and passes over what it does not know, and AWS's own schema lets typing errors
through; so a wrong recipe is noticed on the device, if at all. It also has to stay with the least rights.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from awsiot.greengrasscoreipc import model
from beeagent.errors import InputError
from beeagent.messages.topics import detections_topic, status_topic
from beeagent.settings import load_settings, settings_by_name

_THING: Final = "thing"
"""Stands for the device's level of a topic, which no wildcard may be while the topic is built."""
_CREDENTIALS: Final = "aws.greengrass.TokenExchangeService"
_VARIABLES: Final = ("{artifacts:path}", "{work:path}")
_ARCHITECTURES: Final = frozenset({"aarch64", "amd64", "arm"})
_MOST_BYTES: Final = 16_000  # https://docs.aws.amazon.com/general/latest/gr/greengrassv2.html

_SECRETS: Final = "aws.greengrass.SecretManager"
_GET_SECRET: Final = "aws.greengrass#GetSecretValue"  # noqa: S105 - an operation
_SECRET: Final = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+")
# The keys of each part: those it must have, and those it may have.
_TOP: Final = (
    {"RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentConfiguration", "Manifests"},
    {"ComponentDescription", "ComponentPublisher", "ComponentDependencies"},
)
_CONFIGURATION: Final = ({"DefaultConfiguration"}, set[str]())
_MANIFEST: Final = ({"Platform", "Lifecycle", "Artifacts"}, set[str]())
_PLATFORM: Final = ({"os", "runtime", "architecture"}, set[str]())
_LIFECYCLE: Final = ({"install", "run"}, set[str]())
_STEP: Final = ({"Script"}, {"Timeout", "Setenv"})
_ARTIFACT: Final = ({"URI"}, set[str]())
_DEPENDENCY: Final = ({"VersionRequirement"}, {"DependencyType"})
_POLICY: Final = ({"policyDescription", "operations", "resources"}, set[str]())


def findings(text: str) -> list[str]:
    """Say what is wrong with a recipe, a line each; nothing where all is well.

    Args:
        text: the filled recipe, in YAML.
    """
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"this is not YAML: {' '.join(str(error).split())}"]
    wrong = list(_keys("the recipe", recipe, _TOP))
    wrong = wrong or list(_keys("ComponentConfiguration", recipe["ComponentConfiguration"], _CONFIGURATION))
    if wrong:
        return wrong
    return [
        *_format(recipe, text),
        *_dependencies(recipe),
        *_configuration(recipe, text),
        *_access_control(recipe),
        *_manifests(recipe),
    ]


def _format(recipe: Mapping[str, Any], text: str) -> Iterator[str]:
    if recipe["RecipeFormatVersion"] != "2020-01-25":
        yield f"RecipeFormatVersion is {recipe['RecipeFormatVersion']!r}: there is only '2020-01-25'"
    if not re.fullmatch(r"\d+\.\d+\.\d+", str(recipe["ComponentVersion"])):
        yield f"ComponentVersion is {recipe['ComponentVersion']!r}: it has to be of the form 1.2.3"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", str(recipe["ComponentName"])):
        yield f"ComponentName is {recipe['ComponentName']!r}: letters, digits, '.', '_' and '-' are allowed"
    if len(text.encode()) > _MOST_BYTES:
        yield f"the recipe has {len(text.encode())} bytes and Greengrass takes {_MOST_BYTES}"


def _dependencies(recipe: Mapping[str, Any]) -> Iterator[str]:
    dependencies = recipe.get("ComponentDependencies") or {}
    for name, dependency in dependencies.items():
        yield from _keys(f"the dependency {name}", dependency, _DEPENDENCY)
        if name not in (_CREDENTIALS, _SECRETS):
            yield f"the dependency {name} is none of the agent's"
    asks = "rekognition_project_version_arn" in _defaults(recipe)
    if asks and _CREDENTIALS not in dependencies:
        yield f"the second opinion is on: {_CREDENTIALS} has to be a dependency, or it has no credentials"
    if not asks and _CREDENTIALS in dependencies:
        yield f"the second opinion is off: {_CREDENTIALS} as a dependency gives credentials that nothing needs"


def _configuration(recipe: Mapping[str, Any], text: str) -> Iterator[str]:
    given = {key: value for key, value in _defaults(recipe).items() if key != "accessControl"}
    try:
        load_settings(given, config=None)
    except (InputError, TypeError) as error:
        yield f"DefaultConfiguration: {error}"
    for key, value in given.items():
        if "{" in str(value) and isinstance(value, str):
            yield f"DefaultConfiguration: {key} is {value!r}, and no nucleus fills in what stands in braces there"
    if "mqtt_password" in given:
        yield "DefaultConfiguration has a mqtt_password: everybody who may read the recipe can read it"
    commented = yaml.safe_load("\n".join(re.findall(r"^    # ([a-z_]+: .*)$", text, re.MULTILINE))) or {}
    settings = settings_by_name()
    for key, setting in settings.items():
        if key in given:
            continue
        default = setting.default
        if key not in commented and key != "rekognition_project_version_arn":
            yield f"DefaultConfiguration does not tell of {key}, neither as a value nor as a comment"
        elif commented.get(key) != default:
            yield f"DefaultConfiguration tells that {key} is {commented.get(key)!r} by default, and it is {default!r}"
    for key in commented.keys() - settings.keys():
        yield f"DefaultConfiguration tells of {key}, which is no setting"


def _needed(recipe: Mapping[str, Any]) -> dict[str, dict[str, set[str]]]:
    """Give the operations that the agent uses: of each service, with their topics."""
    defaults = _defaults(recipe)
    prefix, camera = defaults.get("topic_prefix", "beeagent"), defaults.get("camera_name", "camera")
    topics = detections_topic(prefix, _THING, camera), status_topic(prefix, _THING)
    # The matcher of local pubsub does not know MQTT's wildcard.
    wildcard = "*" if defaults.get("broker") == "greengrass://local" else "+"
    results, status = (topic.replace(f"{prefix}/{_THING}/", f"{prefix}/{wildcard}/", 1) for topic in topics)
    if defaults.get("broker") == "greengrass://local":
        return {"aws.greengrass.ipc.pubsub": {"aws.greengrass#PublishToTopic": {results, status}}}
    if defaults.get("broker") == "greengrass://iot-core":
        operations = {
            "aws.greengrass#PublishToIoTCore": {results, status},
            "aws.greengrass#SubscribeToIoTCore": {results},
        }
        return {"aws.greengrass.ipc.mqttproxy": operations}
    return {}


def _access_control(recipe: Mapping[str, Any]) -> Iterator[str]:
    control = _defaults(recipe).get("accessControl") or {}
    needed = _needed(recipe)
    if _SECRETS in (recipe.get("ComponentDependencies") or {}):
        needed[_SECRETS] = {}
    if set(control) != set(needed):
        yield f"accessControl is for {sorted(control)}, and with this broker the agent uses {sorted(needed)}"
    for service, policies in control.items():
        allowed: dict[str, set[str]] = {}
        for name, policy in policies.items():
            where = f"accessControl {name}"
            if not name.startswith(f"{recipe['ComponentName']}:"):
                yield f"{where}: its name has to begin with the component's, as it has to be unique on the device"
            bad = list(_keys(where, policy, _POLICY))
            yield from bad or _policy(where, service, policy, needed.get(service, {}))
            for operation in policy.get("operations", []):
                allowed.setdefault(operation, set()).update(policy.get("resources", []))
        for operation, topics in needed.get(service, {}).items():
            if allowed.get(operation, set()) != topics:
                given = sorted(allowed.get(operation, set()))
                yield f"accessControl has {operation} for {given}, and the agent uses it for {sorted(topics)}"


def _policy(where: str, service: str, policy: Mapping[str, Any], needed: Mapping[str, set[str]]) -> Iterator[str]:
    for operation in policy["operations"]:
        if operation not in operations():
            yield f"{where}: {operation} is no operation of the nucleus"
        elif operation not in ({_GET_SECRET} if service == _SECRETS else needed):
            yield f"{where}: the agent does not use {operation} of {service}"
    for resource in policy["resources"]:
        if service == _SECRETS:
            if not _SECRET.fullmatch(resource):
                yield f"{where}: {resource} is not the ARN of one secret"
        elif "{" in resource:
            yield (
                f"{where}: {resource} has a recipe variable, which a nucleus lite 2.6.0 and a classic one by default "
                "compare literally: write + in its place, or * for local pubsub"
            )
        elif resource not in {topic for topics in needed.values() for topic in topics} and set(resource) & set("*+#?$"):
            yield f"{where}: {resource} is more than the topics of one camera"


def _manifests(recipe: Mapping[str, Any]) -> Iterator[str]:
    seen: list[Any] = []
    for manifest in recipe["Manifests"]:
        wrong = [*_keys("a manifest", manifest, _MANIFEST)]
        wrong += wrong or [
            *_keys("Platform", manifest["Platform"], _PLATFORM),
            *_keys("Lifecycle", manifest["Lifecycle"], _LIFECYCLE),
            *(bad for artifact in manifest["Artifacts"] for bad in _keys("an artifact", artifact, _ARTIFACT)),
        ]
        yield from wrong
        if wrong:
            continue
        platform = manifest["Platform"]
        if (platform["os"], platform["runtime"]) != ("linux", "*"):
            yield f"Platform {platform}: os has to be linux, and runtime '*', which serves both kinds of nucleus"
        if platform["architecture"] not in _ARCHITECTURES or platform["architecture"] in seen:
            yield f"Platform {platform}: architecture has to be one of {sorted(_ARCHITECTURES)}, each once"
        seen.append(platform["architecture"])
        for step, content in manifest["Lifecycle"].items():
            yield from _step(step, content, recipe["ComponentVersion"])
        place = f"/{recipe['ComponentName']}/{recipe['ComponentVersion']}/"
        for artifact in manifest["Artifacts"]:
            name = artifact["URI"].rpartition("/")[2]
            if not re.fullmatch(rf"s3://[^/]+{re.escape(place)}[^/]+", artifact["URI"]):
                yield f"artifact {artifact['URI']} is not at s3://BUCKET{place}"
            if f"{{artifacts:path}}/{name} " not in str(manifest["Lifecycle"]["install"]):
                yield f"artifact {name} is not what install runs"


def _step(step: str, content: Any, version: str) -> Iterator[str]:  # noqa: ANN401 - whatever stands in the file
    bad = list(_keys(step, content, _STEP))
    yield from bad
    if bad:
        return
    script = content["Script"]
    for variable in re.findall(r"\{[^}]*\}?", script):
        if variable not in _VARIABLES:
            yield f"{step}: {variable} is not a recipe variable that has a value on every nucleus: {_VARIABLES} are"
    if not script.startswith("exec ") or "\n" in script.strip():
        yield f"{step}: the script has to be one line that begins with exec, or no signal reaches the agent"
    if "sudo" in script.split():
        yield f"{step}: the agent needs no sudo"
    if f"{{work:path}}/{version}" not in script:
        yield f"{step}: the folder has to carry the version, as the one before still runs during an upgrade"


def operations() -> frozenset[str]:
    """Give the names of all that a component can ask of a nucleus, as awsiot has them."""
    kinds = (kind for name, kind in vars(model).items() if name.endswith("Operation") and name.startswith("_"))
    return frozenset(kind._model_name() for kind in kinds)  # noqa: SLF001 - nothing else of awsiot's names them


def _defaults(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    return recipe["ComponentConfiguration"]["DefaultConfiguration"] or {}


def _keys(what: str, part: Any, keys: tuple[set[str], set[str]]) -> Iterator[str]:  # noqa: ANN401 - as above
    must, may = keys
    if not isinstance(part, Mapping):
        yield f"{what} is {part!r} and has to have the keys {sorted(must)}"
        return
    for key in must - part.keys():
        yield f"{what} has no {key}"
    for key in part.keys() - must - may:
        if str(key).lower() == "requiresprivilege":
            yield f"{what} has {key}: the agent needs no privilege"
        else:
            yield f"{what} has {key}, which a nucleus does not know or the agent does not need"


def main(paths: Sequence[str]) -> int:
    """Check each file; give the exit code."""
    code = 0
    for path in paths:
        for finding in findings(Path(path).read_text(encoding="utf-8")):
            sys.stderr.write(f"{path}: {finding}\n")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
