"""Subscribe to an agent's results and plot how many bees it counts: `python plot_counts.py --host broker.local`.

Needs only paho-mqtt, so it runs on any machine. Each result is a line with a bar:

    10:21:07 hive-7/front bee  12 ############
"""

import argparse
import json

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--host", default="127.0.0.1", help="of the MQTT broker")
parser.add_argument("--port", type=int, default=1883)
parser.add_argument("--topic", default="beeagent/+/+/detections")
parser.add_argument("--messages", type=int, help="stop after this number of results")
arguments = parser.parse_args()
received = 0


def subscribe(client: mqtt.Client, *_: object) -> None:
    """Subscribe on each connection: the broker forgets the subscription of a connection that was lost."""
    client.subscribe(arguments.topic, qos=1)


def confirm(*_: object) -> None:
    """Print that results will arrive from now on."""
    print(f"subscribed to {arguments.topic}", flush=True)


def plot(client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
    """Print a bar for each label that was counted."""
    global received
    result = json.loads(message.payload)
    time = result["captured_at"][11:19]
    for label, count in result["counts"].items() or [("nothing", 0)]:
        print(f"{time} {result['device']}/{result['camera']} {label} {count:3} {'#' * count}", flush=True)
    received += 1
    if received == arguments.messages:
        client.disconnect()


client = mqtt.Client(CallbackAPIVersion.VERSION2)
client.on_connect = subscribe
client.on_subscribe = confirm
client.on_message = plot
client.connect(arguments.host, arguments.port)
client.loop_forever()
