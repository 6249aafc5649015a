"""What the agent has to do with an AWS IoT Greengrass nucleus that runs it: connection, configuration, deployments.

`connection` and `deployments` need the package `awsiotsdk` (extra `greengrass`) and are imported only where a nucleus
is wanted. How results go out through it is told in `beeagent.greengrass.publisher`; nothing here knows of frames or
messages.
"""
