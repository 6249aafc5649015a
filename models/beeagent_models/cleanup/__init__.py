"""Removes what beeagent made in an AWS account, and nothing else: by its tag, looked at again right before.

Everything here asks AWS through `beeagent_models.aws`. Each module finds one kind of thing and gives its removals.
"""
