"""The options that several commands of the command line have, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

from beeagent.settings import DEFAULT_BROKER

Model = Annotated[
    Path | None,
    typer.Option(
        help="Model bundle (a folder), the name of a bundled model (bees-lite0, bees-lite0-wide), or a bare .tflite. "
        "Default: bees-lite0."
    ),
]
Labels = Annotated[Path | None, typer.Option(help="Labels of a bare .tflite, one a line.")]
Tiles = Annotated[
    str | None,
    typer.Option(
        metavar="none|auto|CxR",
        help="Look at overlapping tiles as well, for what is small in the frame: columns and rows such as 3x2. "
        "Default: as the bundle recommends.",
    ),
]
Threads = Annotated[int | None, typer.Option(help="CPU threads to compute with. Default: all cores, at most 4.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Frames to look at at the same time, sharing the threads. Default: at most 2."),
]
Broker = Annotated[
    str | None,
    typer.Option(
        help="mqtt://HOST[:PORT], mqtts://HOST[:PORT], embedded, or none; with --greengrass also greengrass://iot-core "
        f"or greengrass://local. Default: {DEFAULT_BROKER}."
    ),
]
MqttClientId = Annotated[
    str | None,
    typer.Option(help="Client id at the broker, its own for each agent. Default: beeagent-DEVICE-CAMERA_NAME."),
]
MqttVersion = Annotated[
    str | None,
    typer.Option(metavar="auto|5|3.1.1", help="Version of MQTT. Default: auto, 5 or else 3.1.1."),
]
MqttUsername = Annotated[str | None, typer.Option(help="User name for the broker.")]
MqttPasswordFile = Annotated[
    Path | None, typer.Option(help="File that holds the broker's password. Or set BEEAGENT_MQTT_PASSWORD.")
]
MqttCaFile = Annotated[
    Path | None, typer.Option(help="PEM file of the authorities to trust for mqtts://. Default: the system's.")
]
MqttCertificateFile = Annotated[Path | None, typer.Option(help="PEM file of the client certificate for mqtts://.")]
MqttKeyFile = Annotated[Path | None, typer.Option(help="PEM file of the client certificate's key.")]
InsecureTls = Annotated[
    bool | None, typer.Option("--insecure-tls", help="Take any certificate for the broker's. Warned of at each start.")
]
Collect = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Keep the frames on which a second opinion was heard in this folder, with both answers, to train on.",
    ),
]
Config = Annotated[Path | None, typer.Option(envvar="BEEAGENT_CONFIG", help="TOML file with any of these settings.")]
