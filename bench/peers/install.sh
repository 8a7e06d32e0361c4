#!/usr/bin/env bash
# Installs what mover is measured against, as root on Debian: restic and the tools for plain copies by apt (and PostgreSQL, for the
# database's volume), borg 1.4
# from PyPI, rustic 0.11 from crates.io (which takes some minutes to build), virtnbdbackup from Debian's testing. kopia
# and a newer restic are taken from PATH by the benchmark where somebody has put them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-$here/installed}
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -y -qq --no-install-recommends restic qemu-utils nbdkit libnbd-bin xfsprogs postgresql python3-venv \
  libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev pkg-config build-essential \
  libvirt-daemon-system libvirt-clients qemu-system-x86 python3-libvirt python3-libnbd python3-lxml python3-lz4 \
  python3-paramiko python3-tqdm python3-colorlog python3-typing-extensions

mkdir -p "$into/bin"
if [[ ! -x $into/bin/borg ]]; then
  python3 -m venv "$into/borg"
  "$into/borg/bin/pip" install -q 'borgbackup==1.4.*'
  ln -sf ../borg/bin/borg "$into/bin/borg"
fi
if [[ ! -x $into/bin/rustic ]]; then
  cargo install --quiet --locked --root "$into" --version '^0.11' rustic-rs
fi
if [[ ! -x $into/bin/virtnbdbackup ]]; then
  # Debian 12 has 1.9, of years ago. It is Python alone, so that of testing runs here; apt gets lists of its own for it,
  # lest anything else come from there.
  apt=$(mktemp -d)
  mkdir -p "$apt/lists/partial"
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" | head -1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror testing main" >"$apt/sources.list"
  apt_testing() {
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
      -o Dir::State::Lists="$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
  }
  apt_testing update
  (cd "$apt" && apt_testing download virtnbdbackup)
  dpkg-deb -x "$apt"/virtnbdbackup_*.deb "$into/virtnbdbackup"
  rm -rf "$apt"
  for program in virtnbdrestore virtnbdbackup; do
    printf '#!/bin/sh\nPYTHONPATH="%s" exec /usr/bin/python3 "%s" "$@"\n' \
      "$into/virtnbdbackup/usr/lib/python3/dist-packages" "$into/virtnbdbackup/usr/bin/$program" >"$into/bin/$program"
    chmod +x "$into/bin/$program"
  done
fi

"$into/bin/borg" --version
"$into/bin/rustic" --version
restic version
qemu-img --version | head -1
nbdcopy --version
libvirtd --version
echo "virtnbdbackup $("$into/bin/virtnbdbackup" --version)"
