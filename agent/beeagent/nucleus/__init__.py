"""What the agent has to do with an AWS IoT Greengrass nucleus that runs it: connection, configuration, deployments.

Everything here needs the package `awsiotsdk` (extra `greengrass`) and is imported only where a nucleus is wanted. How
results go out through the nucleus is told in `beeagent.delivery.greengrass`; nothing here knows of frames or messages.
"""
