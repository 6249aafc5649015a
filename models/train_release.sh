#!/usr/bin/env bash
# Trains a release of bees-lite0. Run it again with the same arguments to resume; on a GPU, see models/README.md.
#
#   models/train_release.sh DATA OUT (--minutes N | --steps N) [OPTION of beeagent train]...
#
# DATA  folder with the datasets that models/bees-lite0/mixture.toml names. The file is copied there, for its paths are
#       relative to it. A folder hive, web_validation or flowers_held_back there is measured on, and never trained on.
#       A weights/*.npz there gives the backbone's ImageNet weights, unless an option names what to start from.
# OUT   folder of the run.
set -euo pipefail

if [ "$#" -lt 4 ]; then
  sed -n '4,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
data=$1
out=$2
shift 2
case $1 in
  --minutes | --steps) ;;
  *)
    echo "$0: the third argument is '$1': give --minutes N or --steps N" >&2
    exit 2
    ;;
esac
if [ ! -d "$data" ]; then
  echo "$0: data '$data': there is no such folder" >&2
  exit 2
fi
cp "$(dirname "$0")/bees-lite0/mixture.toml" "$data/bees-lite0.mixture.toml"

options=(--data "$data/bees-lite0.mixture.toml" --out "$out" --input-size 320)
for name in hive web_validation flowers_held_back; do
  if [ -d "$data/$name" ]; then
    options+=(--validate "$data/$name")
  fi
done
start="$data/weights/efficientnet_lite0_imagenet_backbone_dequant.npz"
if [ -f "$start" ] && [[ " $* " != *" --warm-start "* && " $* " != *" --backbone-weights "* ]]; then
  options+=(--backbone-weights "$start")
fi
exec beeagent train "${options[@]}" "$@"
