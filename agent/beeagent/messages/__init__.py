"""The messages that are published, their topics and JSON Schemas."""
