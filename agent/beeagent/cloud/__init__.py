"""The second opinion: which frames the model is unsure of, what asking may cost, and the cloud model that is asked.

Nothing here knows of messages, outboxes or brokers. boto3 is an extra: only `rekognition`, `cloud_model` and `failure`
import it, and only the settings that turn the second opinion on, or a command about the cloud model, import those.
"""
