#!/usr/bin/env bash
# Installs what mover is measured against, as root on Debian: restic and the tools for plain copies by apt (and PostgreSQL, for the
# database's volume), borg 1.4
# from PyPI, rustic 0.11 from crates.io (which takes some minutes to build). kopia and a newer restic are taken
# from PATH by the benchmark where somebody has put them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-$here/installed}
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -y -qq --no-install-recommends restic qemu-utils nbdkit libnbd-bin xfsprogs postgresql python3-venv \
  libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev pkg-config build-essential

mkdir -p "$into/bin"
if [[ ! -x $into/bin/borg ]]; then
  python3 -m venv "$into/borg"
  "$into/borg/bin/pip" install -q 'borgbackup==1.4.*'
  ln -sf ../borg/bin/borg "$into/bin/borg"
fi
if [[ ! -x $into/bin/rustic ]]; then
  cargo install --quiet --locked --root "$into" --version '^0.11' rustic-rs
fi

"$into/bin/borg" --version
"$into/bin/rustic" --version
restic version
qemu-img --version | head -1
nbdcopy --version
