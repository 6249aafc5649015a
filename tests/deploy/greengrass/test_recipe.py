"""The recipe and policies are valid in all variants of the build, and the check finds each defect."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
model = pytest.importorskip("awsiot.greengrasscoreipc.model")

import build  # noqa: E402 - after the packages that decide whether these tests run
import check_recipe  # noqa: E402
from beeagent import __version__  # noqa: E402
from beeagent.settings import settings_by_name  # noqa: E402
from support.greengrass_nucleus import CLASSIC, CLASSIC_INTERPOLATING, LITE, LITE_MAIN, Kind, permits  # noqa: E402

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy" / "greengrass"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:hive-7/mqtt-a1B2c3"  # noqa: S105 - its name
ARN = "arn:aws:rekognition:eu-central-1:123456789012:project/bees/version/bees.2026-05-04/1714800000000"
FORMS = [
    list(itertools.chain(*form))
    for form in itertools.product(
        ([], ["--broker", "greengrass://local"]),
        ([], ["--second-opinion", ARN]),
        ([], ["--secret", SECRET]),
        ([], ["--offline"]),
        (
            [],
            [
                "--camera-name",
                "front",
                "--topic-prefix",
                "apiary/north",
                "--set",
                "camera=synthetic",
                "--set",
                "tiles=2x2",
            ],
        ),
    )
]


def recipe(*arguments: str) -> str:
    return build.recipe_for(ROOT, build.parse(arguments), __version__)


@pytest.mark.parametrize("arguments", FORMS, ids=" ".join)
def test_recipe_is_valid_in_each_form(arguments: list[str]) -> None:
    assert check_recipe.findings(recipe(*arguments)) == []


def test_set_changes_a_default_in_the_recipe() -> None:
    defaults = yaml.safe_load(recipe("--set", "camera=synthetic:640x480@5", "--set", "publish=always"))
    assert defaults["ComponentConfiguration"]["DefaultConfiguration"]["camera"] == "synthetic:640x480@5"
    assert defaults["ComponentConfiguration"]["DefaultConfiguration"]["publish"] == "always"
    for wrong in ("camera", "topic_prefix=a", "kamera=0"):
        with pytest.raises(SystemExit):
            recipe("--set", wrong)


def test_recipe_for_the_gdk_differs_only_in_the_bucket() -> None:
    placeholder = "s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/"
    place = f"s3://mine/io.beeagent.Agent/{__version__}/"
    assert recipe("--gdk").replace(placeholder, place) == recipe("--bucket", "mine")
    assert placeholder in recipe("--gdk")


def test_permissions_and_platforms_follow_the_options() -> None:
    plain, opinion = yaml.safe_load(recipe()), yaml.safe_load(recipe("--second-opinion", ARN, "--offline"))
    assert "ComponentDependencies" not in plain
    assert list(opinion["ComponentDependencies"]) == ["aws.greengrass.TokenExchangeService"]
    assert opinion["ComponentConfiguration"]["DefaultConfiguration"]["rekognition_project_version_arn"] == ARN
    architectures = [
        [manifest["Platform"]["architecture"] for manifest in each["Manifests"]] for each in (plain, opinion)
    ]
    assert architectures == [["aarch64", "amd64", "arm"], ["aarch64", "amd64"]]
    assert permissions(plain) == {
        "aws.greengrass#PublishToIoTCore": [
            "beeagent/+/camera/detections",
            "beeagent/+/camera/traffic",
            "beeagent/+/camera/events",
            "beeagent/+/camera/state",
            "beeagent/+/status",
        ],
        "aws.greengrass#SubscribeToIoTCore": [
            "beeagent/+/camera/detections",
            "beeagent/+/camera/traffic",
            "beeagent/+/camera/events",
        ],
    }
    secretive = yaml.safe_load(recipe("--secret", SECRET))
    assert list(secretive["ComponentDependencies"]) == ["aws.greengrass.SecretManager"]
    assert permissions(secretive) == {**permissions(plain), "aws.greengrass#GetSecretValue": [SECRET]}


def permissions(recipe: dict[str, Any]) -> dict[str, list[str]]:
    """Return the resources that a recipe permits, by operation."""
    control = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    policies = [policy for service in control.values() for policy in service.values()]
    return {operation: policy["resources"] for policy in policies for operation in policy["operations"]}


INSTALL = "exec python3 {artifacts:path}/beeagent-aarch64.zip install"
RUN = f"exec sh {{work:path}}/{__version__}/run.sh --greengrass"
TOPIC = "- beeagent/+/status"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"2020-01-25"', '"2020-01-26"', "RecipeFormatVersion: Input should be '2020-01-25'"),
        ("RecipeFormatVersion:", "RecipeFormatVersoin:", "RecipeFormatVersion: Field required"),
        ("Manifests:", "manifests:", "Manifests: Field required"),
        ("DefaultConfiguration:", "defaultConfiguration:", ".DefaultConfiguration: Field required"),
        ("Lifecycle:", "LifeCycle:", "Manifests.0.Lifecycle: Field required"),
        ("runtime:", "runtimee:", "Platform.runtimee: Extra inputs"),
        ('runtime: "*"', "runtime: aws_nucleus_lite", "Platform.runtime: Input should be '*'"),
        ("architecture: arm\n", "architecture: armv7\n", "Platform.architecture: Input should be"),
        ("architecture: arm\n", "architecture: amd64\n", "each architecture can be there once"),
        ("install:", "Install:", "Lifecycle.Install: Extra inputs"),
        ("Script:", "script:", "install.Script: Field required"),
        ("Timeout: 1800", "Setenvv: {A: b}", "install.Setenvv: Extra inputs"),
        ("Timeout: 1800", "RequiresPrivilege: false", "install.RequiresPrivilege: Extra inputs"),
        ("Timeout: 1800", "Skipif: onpath bee", "install.Skipif: Extra inputs"),
        (INSTALL, INSTALL.replace("{artifacts:path}", "{artifacts:decompressedPath}"), "{artifacts:decompressedPath}"),
        (RUN, RUN.replace("{work:path}", "${HOME}"), "run: {HOME} is not"),
        (RUN, RUN + " '{\"a\": 1}'", "is not a recipe variable"),
        (RUN, RUN.removeprefix("exec "), "begins with exec"),
        (RUN, RUN.replace("exec sh", "exec sudo sh"), "needs no sudo"),
        (RUN, RUN.replace(f"/{__version__}", ""), "must contain the version"),
        ("URI:", "Uri:", "Artifacts.0.URI: Field required"),
        ("beeagent-aarch64.zip install", "beeagent.zip install", "is not what install runs"),
        (f"/{__version__}/beeagent-arm.zip", "/0.0.9/beeagent-arm.zip", "is not at s3://BUCKET"),
        ("#PublishToIoTCore", "#PublishToIotCore", "aws.greengrass#PublishToIotCore': ['beeagent/+/camera/detections'"),
        ("#PublishToIoTCore", "#PublishToTopic", "ipc.mqttproxy': {'aws.greengrass#PublishToTopic'"),
        ("#SubscribeToIoTCore", "#PublishToIoTCore", "and the agent needs {'aws.greengrass.ipc.mqttproxy'"),
        ("ipc.mqttproxy:", "ipc.pubsub:", "accessControl permits {'aws.greengrass.ipc.pubsub'"),
        ("resources:", "resource:", "resources: Field required"),
        (TOPIC, '- "*"', "'*'"),
        (TOPIC, "- beeagent/#", "and the agent needs"),
        (TOPIC, '- "+/+/status"', "and the agent needs"),
        (TOPIC, '- "beeagent/*/status"', "and the agent needs"),
        (TOPIC, '- "beeagent/{iot:thingName}/status"', "'beeagent/{iot:thingName}/status'"),
        (TOPIC, TOPIC + "\n            - beeagent/hive-7/more", "and the agent needs"),
        ("await_camera: true", "await_camera: true\n    device: '{iot:thingName}'", "no nucleus replaces"),
        ("camera_name: camera", "camera_name: front", "and the agent needs"),
        ("io.beeagent.Agent:mqttproxy:1", "mqttproxy:1", "must begin with the component's"),
        ("await_camera: true", "await_camera: perhaps", "DefaultConfiguration: --await-camera is 'perhaps'"),
        ("await_camera: true", "await_kamera: true", "DefaultConfiguration: unknown setting --await-kamera"),
        ("camera: /dev/video0", "camera: /dev/video0\n    mqtt_password: bees", "everybody who may read"),
        ("    # tiles: null\n", "", "lists tiles neither as a value nor as a comment"),
        ("# publish: detections", "# publish: always", "the default of publish is 'always': it is 'detections'"),
        ("# tiles: null", "# tiless: null", "tiless, which is not a setting"),
        ("Manifests:", "ComponentDependencies: {a.b: {VersionRequirement: 1.0.0}}\nManifests:", "are ['a.b']"),
        (
            "Manifests:",
            "ComponentDependencies: {aws.greengrass.TokenExchangeService: {VersionRequirement: 2.0.0}}\nManifests:",
            "ComponentDependencies are ['aws.greengrass.TokenExchangeService']",
        ),
        ("camera: /dev", f"rekognition_project_version_arn: {ARN}\n    camera: /dev", "needs ['aws.greengrass.TokenEx"),
        ("Manifests:", f"# {'x' * 16_000}\nManifests:", "bytes, and Greengrass accepts 16000"),
        ("Manifests:", "Manifests: [", "not YAML"),
    ],
)  # fmt: skip
def test_each_defect_is_found(old: str, new: str, message: str) -> None:
    # Quotes that YAML does not need are removed first, so that each case is written in one way.
    valid = re.sub(r'"([a-z][A-Za-z0-9./:#{}+_-]*)"', r"\1", recipe())
    assert check_recipe.findings(valid) == []
    assert old in valid
    found = check_recipe.findings(valid.replace(old, new))
    assert any(message in finding for finding in found), found


def test_check_exits_1_for_an_invalid_recipe(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(recipe())
    wrong.write_text(recipe().replace("runtime:", "runtimee:"))
    for file, code in ((right, 0), (wrong, 1)):
        ended = subprocess.run([sys.executable, DEPLOY / "check_recipe.py", file], capture_output=True, check=False)
        assert ended.returncode == code, ended.stderr


@pytest.mark.parametrize("kind", [LITE, LITE_MAIN, CLASSIC, CLASSIC_INTERPOLATING])
@pytest.mark.parametrize("arguments", FORMS, ids=" ".join)
def test_recipe_permits_exactly_the_operations_of_the_agent(arguments: list[str], kind: Kind) -> None:
    """With the resources as they are in the recipe; the nucleus replaces variables itself, if at all."""
    configuration = yaml.safe_load(recipe(*arguments))["ComponentConfiguration"]["DefaultConfiguration"]
    prefix, camera = configuration["topic_prefix"], configuration["camera_name"]
    results = [f"{prefix}/hive-7/{camera}/{leaf}" for leaf in ("detections", "traffic", "events")]
    retained = [f"{prefix}/hive-7/{camera}/state", f"{prefix}/hive-7/status"]
    used = {(operation, topic) for operation in ("PublishToIoTCore", "SubscribeToIoTCore") for topic in results}
    used |= {("PublishToIoTCore", topic) for topic in retained}
    if configuration["broker"] == "greengrass://local":
        used = {("PublishToTopic", topic) for topic in (*results, *retained)}
    elsewhere = (f"{prefix}/hive-7/other/detections", f"other/hive-7/{camera}/detections", f"{prefix}/hive-7/more")
    permitted = {
        (operation, topic)
        for operation in ("PublishToIoTCore", "SubscribeToIoTCore", "PublishToTopic")
        for topic in (*results, *retained, *elsewhere)
        if permits(configuration, operation, topic, kind=kind, thing="hive-7")
    }
    assert permitted == used


def sdk_operations() -> set[str]:
    """Return the names of all IPC operations in the SDK."""
    classes = (each for name, each in vars(model).items() if name.endswith("Operation") and name.startswith("_"))
    return {each._model_name() for each in classes}


@pytest.mark.parametrize("arguments", FORMS, ids=" ".join)
def test_permitted_operations_exist_in_the_sdk(arguments: list[str]) -> None:
    assert permissions(yaml.safe_load(recipe(*arguments))).keys() <= sdk_operations()


@pytest.mark.parametrize("resource", ['"*"', "arn:aws:secretsmanager:eu-central-1:123456789012:secret:*"])
def test_secrets_are_permitted_by_their_arns_only(resource: str) -> None:
    text = recipe("--secret", SECRET).replace(json.dumps([SECRET]), f"[{resource}]")
    assert any("is not the ARN of one secret" in finding for finding in check_recipe.findings(text))
    with pytest.raises(SystemExit):
        build.parse(["--secret", resource])


def test_gdk_configuration_has_this_version() -> None:
    config = json.loads((DEPLOY / "gdk-config.json").read_text())
    ((name, component),) = config["component"].items()
    assert component["version"] == __version__
    assert component["build"] == {"build_system": "custom", "custom_build_command": ["python3", "build.py", "--gdk"]}
    assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)


def assert_accepted(operation: str, service: str, request: dict[str, Any]) -> None:
    """Fail unless botocore's model of the operation accepts the request."""
    loaders, shapes = pytest.importorskip("botocore.loaders"), pytest.importorskip("botocore.model")
    validate = pytest.importorskip("botocore.validate")
    shape = shapes.ServiceModel(loaders.Loader().load_service_model(service, "service-2")).operation_model(operation)
    report = validate.ParamValidator().validate(request, shape.input_shape)
    assert not report.has_errors(), report.generate_report()


def test_recipe_is_accepted_by_create_component_version() -> None:
    assert_accepted("CreateComponentVersion", "greengrassv2", {"inlineRecipe": recipe().encode()})


@pytest.mark.parametrize("name", ["deployment.json", "deployment-canary.json"])
def test_deployment_is_accepted_by_create_deployment(name: str) -> None:
    deployment = json.loads((DEPLOY / "aws" / name).read_text())
    assert_accepted("CreateDeployment", "greengrassv2", deployment)
    assert list(deployment["components"]) == [yaml.safe_load(recipe())["ComponentName"]]
    (component,) = deployment["components"].values()
    assert component["componentVersion"] == __version__
    merged = json.loads(component["configurationUpdate"]["merge"])
    assert merged.keys() <= settings_by_name().keys()
    assert deployment["deploymentPolicies"]["failureHandlingPolicy"] == "ROLLBACK"


def test_policies_have_minimum_permissions() -> None:
    policies = {path.name: json.loads(path.read_text()) for path in (DEPLOY / "aws").glob("*-*.json")}
    statements = [
        (name, statement)
        for name, policy in policies.items()
        if "Statement" in policy
        for statement in policy["Statement"]
    ]
    assert {name for name, _ in statements} == {
        "core-device-iot-policy.json",
        "token-exchange-trust.json",
        "token-exchange-artifacts.json",
        "token-exchange-second-opinion.json",
        "token-exchange-secrets.json",
    }
    allowed: dict[str, set[str]] = {"iot:Publish": set(), "iot:Subscribe": set(), "iot:Receive": set()}
    for name, statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        resources = statement.get("Resource", [])
        resources = resources if isinstance(resources, list) else [resources]
        assert not any("*" in action for action in actions), name
        if "*" in resources:
            # The nucleus' own calls, in the form that AWS documents for core devices.
            assert all(action.startswith("greengrass:") for action in actions), name
        for action in allowed.keys() & set(actions):
            topics = {re.split(":topic/|:topicfilter/", resource)[-1] for resource in resources}
            allowed[action] |= {topic for topic in topics if not topic.startswith("$aws/")}
    given = {
        operation.removeprefix("aws.greengrass#"): {topic.replace("/+/", "/THING/") for topic in topics}
        for operation, topics in permissions(yaml.safe_load(recipe())).items()
    }
    assert allowed["iot:Publish"] == given["PublishToIoTCore"]
    assert allowed["iot:Subscribe"] == allowed["iot:Receive"] == given["SubscribeToIoTCore"]
