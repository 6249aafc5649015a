"""An agent with a second opinion: its images, its environment, and its messages checked against the schema."""

import json
from pathlib import Path
from typing import Any

import cv2
from beeagent.messages import load_schema
from jsonschema import Draft202012Validator, FormatChecker

from support.beeagent_process import tiny_model
from support.rekognition_server import ACCESS_KEY, PROJECT_VERSION_ARN, SECRET_KEY, RekognitionServer
from support.tiny_models import RED, painted

SURE = 1.0
UNSURE = 0.6
UNSURE_AND_BELOW_THE_THRESHOLD = 0.3
NOTHING = 0.0


def write_images(folder: Path, *strengths: float) -> Path:
    """Write an image of 640x320 per strength of red, which the tiny model detects in the top left eighth."""
    target = folder / "images"
    target.mkdir()
    for number, strength in enumerate(strengths):
        red = tuple(round(strength * part) for part in RED)
        cv2.imwrite(str(target / f"{number:03}.png"), painted((640, 320), {red: (0, 0, 80, 40)}))
    return target


def environment(server: RekognitionServer, **more: str) -> dict[str, str]:
    """Return the environment that enables the second opinion with the fake Rekognition."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_REKOGNITION": server.url,
        "BEEAGENT_REKOGNITION_PROJECT_VERSION_ARN": PROJECT_VERSION_ARN,
        "BEEAGENT_REKOGNITION_SAME_FOR": "0",
        "BEEAGENT_REKOGNITION_TIMEOUT": "60",
        "BEEAGENT_UNSURE_LOW": "0.2",
        "BEEAGENT_UNSURE_HIGH": "0.8",
        **more,
    }


def arguments(folder: Path, *strengths: float, publish: str = "always") -> list[str | Path]:
    return [
        "--camera", write_images(folder, *strengths), *tiny_model(folder), "--broker", "none", "--stdout",
        "--publish", publish,
    ]  # fmt: skip


def valid(line: str) -> dict[str, Any]:
    message = json.loads(line)
    Draft202012Validator(load_schema("detections"), format_checker=FormatChecker()).validate(message)
    return message
