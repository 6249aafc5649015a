"""Manages what beeagent uses in an AWS account: Rekognition Custom Labels models, and the cleanup of resources.

Runs on a workstation, never on the device.
"""
