"""The running agent: how its parts are built and connected, its status, and what it serves."""
