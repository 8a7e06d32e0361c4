#!/usr/bin/env bash
# Unpacks QEMU 10 from the backports of Debian 12 into .cache/qemu-10, for the tests: Debian 12 itself has 7.2, which speaks no
# extended headers of NBD. Nothing is installed. What the machine's own QEMU depends on has to be there, and is enough.
# Does nothing where it is there already; tests that run at a time wait for each other.
set -euo pipefail
cache=$(cd "$(dirname "$0")/.." && pwd)/.cache
packages=(qemu-system-common qemu-utils qemu-system-x86 qemu-system-data)

mkdir -p "$cache"
exec 9>"$cache/qemu-10.lock"
flock 9
if [[ -d $cache/qemu-10 ]]; then exit 0; fi
work=$(mktemp -d "$cache/unpacking.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Whatever mirror the machine's bookworm comes from has its backports too.
indexes=$(apt-get update --print-uris)
mirror=$(sed -n "s|^'\(.*/\)dists/bookworm/InRelease'.*|\1|p" <<<"$indexes")
mirror=${mirror%%$'\n'*}
[[ $mirror ]] || { echo 'qemu-10.sh: apt knows no mirror of Debian 12 (bookworm)' >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$work/sources"

# An apt with lists and a cache of its own. It refuses an index that is not signed by Debian, and a package whose SHA-256 is not
# the one in the index.
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$work/unpacked"
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$work/sources" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists" \
    -o Dir::Cache="$work" -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
(cd "$work/debs" && apt download "${packages[@]/%//bookworm-backports}")
for package in "$work"/debs/*.deb; do dpkg-deb --extract "$package" "$work/unpacked"; done

version=$("$work/unpacked/usr/bin/qemu-storage-daemon" --version | head -n 1)
[[ $version == *' version 10.'* ]] || { echo "qemu-10.sh: this is no QEMU 10: $version" >&2; exit 1; }
mv "$work/unpacked" "$cache/qemu-10"
