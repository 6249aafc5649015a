"""Publishing to an MQTT broker, and subscribing to one."""
