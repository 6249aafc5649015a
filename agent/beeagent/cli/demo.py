"""`beeagent demo`: the whole agent in one terminal, with nothing to set up."""

import threading

import typer

from beeagent.cli.watch import Watcher
from beeagent.errors import BeeagentError
from beeagent.log import configure_log
from beeagent.mqtt import EmbeddedBroker, mqtt_options
from beeagent.runtime.agent import Agent
from beeagent.runtime.factory import chosen_bundle
from beeagent.runtime.run import on_signals, stopping
from beeagent.settings import Settings

_CAMERA = "synthetic:1280x720@5"
_SUBSCRIBED_WITHIN_S = 10.0
_ARRIVED_WITHIN_S = 10.0


def run_demo(settings: Settings) -> None:
    """Run the agent on the synthetic camera, and show what a subscriber gets from a broker.

    Every message takes the way it takes in the field: outbox, MQTT, broker, subscriber.

    Args:
        settings: of which model, labels, threads, threshold and frames count.

    Raises:
        InputError: the broker's package is not installed, or the model cannot be used.
        BeeagentError: the subscriber did not get what was published.
    """
    configure_log(settings.log_format)
    bundle = chosen_bundle(settings)
    broker = EmbeddedBroker(port=None)
    broker.start()
    subscribed = threading.Event()

    def show(line: str) -> None:
        subscribed.set()
        typer.echo(line)

    demo = settings.model_copy(update={"camera": _CAMERA, "publish": "always", "camera_name": "demo"})
    watcher = Watcher(
        options=mqtt_options(address=broker.address, client_id="beeagent-demo"),
        prefix=demo.topic_prefix,
        device=demo.device,
        camera=demo.camera_name,
        limit=demo.frames,
        write=show,
    )
    watching = threading.Thread(target=watcher.run, name="watch", daemon=True)
    try:
        typer.echo(f"beeagent demo: a drawn hive entrance, looked at by {bundle.identity}; Ctrl-C ends it")
        watching.start()
        if not subscribed.wait(_SUBSCRIBED_WITHIN_S):
            raise BeeagentError("the demo's subscriber could not connect to the demo's broker")
        agent = Agent(demo, bundle=bundle, outbox_path=None, broker=broker.address)
        with on_signals(stopping(agent.stop)):
            agent.run()
        if demo.frames is not None:
            watching.join(_ARRIVED_WITHIN_S)
            if watching.is_alive() and agent.health.frames >= demo.frames:
                raise BeeagentError(f"of {demo.frames} messages, not all arrived")
        typer.echo(
            "That was the demo. With a camera and a broker of your own: beeagent --camera 0 --broker mqtt://HOST"
        )
    finally:
        watcher.stop()
        broker.stop()
