#!/usr/bin/env python3
"""Build the Greengrass component: one artifact per platform, and the recipe.

Needs Python 3.10, git and uv, but neither AWS nor the GDK. The build is reproducible: the same commit and options
produce the same bytes, in any folder and at any time. It builds the commit or, with --uncommitted, the working tree.
`build.py --help` lists the options; README.md describes the deployment of the result.
"""

import argparse
import datetime as dt
import hashlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wheels import PLATFORMS, build_wheel, download, fail, requirements, run

HERE: Final = Path(__file__).resolve().parent
PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13", "3.14")
_MIN_ZIP_TIME: Final = 315532800  # 1980-01-01, the earliest time in a zip file
# https://docs.aws.amazon.com/general/latest/gr/greengrassv2.html
_MAX_RECIPE_BYTES: Final = 16_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the component with the options of the command line."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        source = _repository() if options.uncommitted else _commit(Path(scratch) / "source")
        build(source, options, Path(scratch))


def build(source: Path, options: argparse.Namespace, scratch: Path) -> None:
    """Build artifacts and recipe from `source` into `options.out`."""
    name, _, _ = _component(source)
    wheel = build_wheel(source, scratch / "dist", _commit_time())
    version = wheel.name.split("-")[1]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        fail(f"the version {version} in agent/beeagent/__init__.py is not valid for Greengrass, as 1.2.3 is")
    artifacts = options.out / "artifacts" / name / version
    recipes = options.out / "recipes"
    for folder in (artifacts, recipes):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    for architecture in options.platform:
        folder = scratch / architecture
        folder.mkdir()
        _fill_artifact(folder, source, wheel, architecture, options)
        artifact = artifacts / f"beeagent-{architecture}.zip"
        _zip(folder, artifact, _commit_time())
        _log(f"{artifact}  {artifact.stat().st_size:,} bytes  sha256 {_sha256(artifact)}")
    file = recipes / ("recipe.yaml" if options.gdk else f"{name}-{version}.yaml")
    file.write_text(recipe_for(source, options, version), encoding="utf-8")
    _log(str(file))


def recipe_for(source: Path, options: argparse.Namespace, version: str) -> str:
    """Return the recipe, filled with the options of the command line."""
    name, author, bucket = _component(source)
    template = (source / "deploy" / "greengrass" / "recipe.yaml").read_text(encoding="utf-8")
    values = {
        "COMPONENT_NAME": name,
        "COMPONENT_VERSION": version,
        "COMPONENT_AUTHOR": author,
        "CAMERA_NAME": options.camera_name,
        "TOPIC_PREFIX": options.topic_prefix,
        "BROKER": options.broker,
        "PROJECT_VERSION_ARN": options.second_opinion or "",
        "SECRETS": json.dumps(options.secret),
    }
    conditions = {*options.platform, options.broker.removeprefix("greengrass://")}
    if options.second_opinion:
        conditions |= {"second-opinion", "dependencies"}
    if options.secret:
        conditions |= {"secrets", "dependencies"}
    recipe = fill_recipe(template, values, conditions)
    for key, value in options.set:
        recipe = _with_default(recipe, key, value)
    # The GDK replaces the bucket itself, by a name with account and region.
    if not options.gdk:
        place = f"s3://{options.bucket or bucket}/{name}/{version}/"
        recipe = recipe.replace("s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/", place)
    if len(recipe.encode()) > _MAX_RECIPE_BYTES:
        fail(f"the recipe has {len(recipe.encode())} bytes, and Greengrass accepts {_MAX_RECIPE_BYTES}: shorten it")
    return recipe


def _with_default(recipe: str, key: str, value: str) -> str:
    line = re.search(rf"^    (# )?{key}: .*$", recipe, re.MULTILINE)
    if line is None:
        fail(f"--set {key}={value}: {key} is not a setting in the recipe")
    return f"{recipe[: line.start()]}    {key}: {json.dumps(value)}{recipe[line.end() :]}"


def fill_recipe(template: str, values: dict[str, str], conditions: set[str]) -> str:
    """Replace the placeholders `{NAME}`, and omit each block from `# if WORD` to `# end` whose word is no condition.

    Args:
        template: text of `recipe.yaml`.
        values: values of the placeholders, by name.
        conditions: words whose blocks are kept.
    """
    kept: list[str] = []
    inside: str | None = None
    for line in template.splitlines():
        word = re.fullmatch(r" *# if ([a-z0-9-]+)", line)
        if word:
            inside = word[1]
        elif line.strip() == "# end":
            inside = None
        elif inside is None or inside in conditions:
            kept.append(line)
    text = "\n".join(kept) + "\n"
    return re.sub(r"\{([A-Z_]+)\}", lambda found: values[found[1]], text)


def _fill_artifact(folder: Path, source: Path, wheel: Path, architecture: str, options: argparse.Namespace) -> None:
    platform = PLATFORMS[architecture]
    own = source / "deploy" / "greengrass"
    shutil.copy(own / "install.py", folder / "__main__.py")
    for file in (own / "run.sh", source / "LICENSE", source / "NOTICE", wheel):
        shutil.copy(file, folder / file.name)
    extras = (*platform.extras, "rekognition") if options.second_opinion else platform.extras
    pythons = options.python
    if platform.uv:
        (folder / "requirements").mkdir()
        for python in pythons:
            wanted = folder / "requirements" / f"{python}.txt"
            pinned = requirements(wheel, own / "constraints.txt", platform, python, extras)
            wanted.write_text(pinned, encoding="utf-8")
            if options.offline:
                download(wanted, platform, python, folder / "wheels")
    contents = {
        "version": wheel.name.split("-")[1],
        "bits": platform.bits,
        "machines": platform.machines,
        "pythons": pythons if platform.uv else [python for python in pythons if python in ("3.10", "3.11")],
        "extras": extras,
        "offline": options.offline,
    }
    (folder / "artifact.json").write_text(json.dumps(contents, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _zip(folder: Path, target: Path, time: int) -> None:
    """Pack a folder reproducibly: sorted files, one time, fixed modes, no compression.

    Most files are wheels, which are compressed already; versions of zlib would compress the rest differently.
    """
    moment = dt.datetime.fromtimestamp(max(time, _MIN_ZIP_TIME), dt.timezone.utc)
    stamp = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), stamp)
            entry.create_system = 3  # Unix
            entry.external_attr = (0o755 if path.suffix == ".sh" else 0o644) << 16
            archive.writestr(entry, path.read_bytes())


def _component(source: Path) -> tuple[str, str, str]:
    """Return name, author and bucket from the configuration of the GDK."""
    config: dict[str, Any] = json.loads((source / "deploy" / "greengrass" / "gdk-config.json").read_text("utf-8"))
    ((name, component),) = config["component"].items()
    return name, component["author"], component["publish"]["bucket"]


def _repository() -> Path:
    return Path(run("git", "-C", HERE, "rev-parse", "--show-toplevel").strip())


def _commit(folder: Path) -> Path:
    """Unpack the current commit into a folder, and return the folder."""
    if run("git", "-C", _repository(), "status", "--porcelain", "--untracked-files=no"):
        _log("the working tree has uncommitted changes, which are not in the component")
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    run("git", "-C", _repository(), "archive", "--output", archive, "HEAD")
    run("tar", "-xf", archive, "-C", folder)
    return folder


def _commit_time() -> int:
    return int(run("git", "-C", HERE, "log", "-1", "--format=%ct"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="build.py", description="Build the beeagent component for AWS IoT Greengrass."
    )
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="only this platform; may be repeated")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this Python; may be repeated")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="include all wheels, for devices without access to a package index; Python 3.11 and 3.13 unless --python "
        "is given; not for arm, where not all packages have wheels",
    )
    parser.add_argument("--second-opinion", metavar="ARN", help="the Rekognition model for second opinions")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="ARN",
        help="a secret of AWS Secrets Manager to which the configuration refers; may be repeated; classic nucleus",
    )
    parser.add_argument(
        "--broker",
        default="greengrass://iot-core",
        choices=("greengrass://iot-core", "greengrass://local"),
        help="destination of the results. Default: greengrass://iot-core",
    )
    parser.add_argument("--camera-name", default="camera", type=_level, help="name in topics. Default: camera")
    parser.add_argument("--topic-prefix", default="beeagent", type=_levels, help="default: beeagent")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="another default of a setting, such as camera=synthetic; may be repeated",
    )
    parser.add_argument("--bucket", help="bucket of the artifacts. Default: the one in gdk-config.json")
    parser.add_argument(
        "--out", type=Path, default=HERE / "greengrass-build", help="default: greengrass-build beside build.py"
    )
    parser.add_argument("--uncommitted", action="store_true", help="build the working tree instead of the commit")
    parser.add_argument("--gdk", action="store_true", help="let the GDK, which calls build.py, fill in the bucket")
    options = parser.parse_args(arguments)
    if options.offline and "arm" in (options.platform or ()):
        parser.error("--offline is not for --platform arm: OpenCV, NumPy and others have no wheels for it on the index")
    options.platform = options.platform or [name for name in PLATFORMS if not (options.offline and name == "arm")]
    # The versions in Debian and Raspberry Pi OS bookworm and trixie.
    options.python = options.python or list(("3.11", "3.13") if options.offline else PYTHONS)
    arn = options.second_opinion
    if arn and not re.fullmatch(
        r"arn:aws[a-z-]*:rekognition:[a-z0-9-]+:\d{12}:project/[^/\"]+/version/[^/\"]+/\d+", arn
    ):
        parser.error(f"--second-opinion {arn} is not the ARN of a project version")
    for arn in options.secret:
        if not re.fullmatch(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@-]+", arn):
            parser.error(f"--secret {arn} is not the ARN of a secret")
    return options


def _level(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of letters, digits, '_', '.' and '-'")
    return text


def _levels(text: str) -> str:
    return "/".join(map(_level, text.split("/")))


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+", key):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if key in ("camera_name", "topic_prefix", "broker", "rekognition_project_version_arn"):
        raise argparse.ArgumentTypeError(f"{key} has its own option, as permissions in the recipe depend on it")
    return key, value


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
