"""Removes what beeagent made in an AWS account, and nothing else: each resource is identified by its tag."""
