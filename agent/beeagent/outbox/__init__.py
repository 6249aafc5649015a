"""From a result to a subscriber: the message and its JSON Schema, the outbox, the publishers.

Nothing here knows of pixels or models.
"""
