#!/bin/sh
# Entry point of the component. It replaces itself by the agent, so that SIGTERM of the nucleus reaches the agent, and its
# exit code reaches the nucleus. It is unpacked into a folder per version; persistent data are in `state` beside it.
set -eu
umask 077
here=$(cd -- "$(dirname -- "$0")" && pwd)
# `install` keeps the version that ran last, for a rollback, and removes older ones.
: >"$here/ran"
STATE_DIRECTORY="$(dirname -- "$here")/state"
PYTHONFAULTHANDLER=1
export STATE_DIRECTORY PYTHONFAULTHANDLER
# Resolve the link to the environment, because an installation may change it meanwhile.
environment=$(cd -P -- "$here/venv" && pwd -P)
exec "$environment/bin/python" -m beeagent "$@"
