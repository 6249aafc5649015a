"""`beeagent demo`: the whole agent in a terminal, without setup."""

import threading

import typer

from beeagent.cli.watch import Watcher
from beeagent.errors import BeeagentError
from beeagent.mqtt import EmbeddedBroker, mqtt_options
from beeagent.output import configure_log
from beeagent.runtime import Agent, load_model
from beeagent.settings import MqttSettings, Settings
from beeagent.threads import on_stop_signals

_CAMERA = "synthetic:1280x720@5"
_SUBSCRIBED_WITHIN_S = 10.0
_ARRIVED_WITHIN_S = 10.0


def run_demo(settings: Settings) -> None:
    """Run the agent on a synthetic camera, and print what a subscriber receives.

    Messages go through the outbox, MQTT and a broker, as on a real device.

    Args:
        settings: settings; only the model, the topics and the number of frames are used.

    Raises:
        InputError: the broker's package is not installed, or the model cannot be used.
        BeeagentError: the subscriber did not receive every message.
    """
    configure_log(settings.agent.log_format)
    bundle = load_model(settings)
    broker = EmbeddedBroker(port=None)
    broker.start()
    subscribed = threading.Event()

    def show(line: str) -> None:
        subscribed.set()
        typer.echo(line)

    demo = settings.replace(camera=_CAMERA, publish="always", camera_name="demo")
    prefix, device, camera = demo.messages.topic_prefix, demo.agent.device, demo.camera
    options = mqtt_options(MqttSettings(), address=broker.address, client_id="beeagent-demo")
    watcher = Watcher(
        options=options, prefix=prefix, device=device, camera=camera.name, limit=camera.frames, write=show
    )
    watching = threading.Thread(target=watcher.run, name="watch", daemon=True)
    try:
        typer.echo(f"beeagent demo: a synthetic hive entrance, processed by {bundle.identity}; Ctrl-C ends it")
        watching.start()
        if not subscribed.wait(_SUBSCRIBED_WITHIN_S):
            raise BeeagentError("the subscriber of the demo could not connect to the broker of the demo")
        agent = Agent(demo, bundle=bundle, outbox_path=None, broker=broker.address)
        with on_stop_signals(agent.stop):
            agent.run()
        if camera.frames is not None:
            watching.join(_ARRIVED_WITHIN_S)
            if watching.is_alive() and agent.health.frames >= camera.frames:
                raise BeeagentError(f"not all of the {camera.frames} messages arrived")
        typer.echo("End of the demo. With your own camera and broker: beeagent --camera 0 --broker mqtt://HOST")
    finally:
        watcher.stop()
        broker.stop()
