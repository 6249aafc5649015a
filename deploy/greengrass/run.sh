#!/bin/sh
# What the nucleus runs: becomes the agent, so that the nucleus' SIGTERM reaches it and its exit code reaches the nucleus.
# It is unpacked into a folder of its version; what has to outlive that is kept in `state` beside it.
set -eu
umask 077
here=$(cd -- "$(dirname -- "$0")" && pwd)
# `install` keeps the version that ran last, for a return to it, and removes those before.
: >"$here/ran"
STATE_DIRECTORY="$(dirname -- "$here")/state"
PYTHONFAULTHANDLER=1
export STATE_DIRECTORY PYTHONFAULTHANDLER
# The environment itself and not the link to it, which an installation may turn to another one meanwhile.
environment=$(cd -P -- "$here/venv" && pwd -P)
exec "$environment/bin/python" -m beeagent "$@"
