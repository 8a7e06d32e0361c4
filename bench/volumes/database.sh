#!/usr/bin/env bash
# Two states of a real database's volume: database.sh FOLDER makes FOLDER/database-1.img and FOLDER/database-2.img, an
# ext4 with a PostgreSQL cluster of about 2 GiB filled by pgbench, and the same after pgbench has updated it. Needs
# root and Debian's postgresql. Seeded, but a database's bytes are never the same twice.
set -euo pipefail
folder=$1
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
image=$folder/database.part mount=$folder/database-mount
socket=$(mktemp -d)
chown postgres "$socket"
mkdir -p "$mount"

as_postgres() { runuser -u postgres -- "$@"; }
start() { as_postgres "$bin/pg_ctl" -s -w -D "$mount/data" -o "-k $socket -c listen_addresses= -c fsync=on" start; }
stop() { as_postgres "$bin/pg_ctl" -s -w -D "$mount/data" -m fast stop; }
clean_up() {
  [[ ! -f $mount/data/postmaster.pid ]] || stop || true
  mountpoint -q "$mount" && umount "$mount"
  rm -rf "$mount" "$socket" "$image"
}
trap clean_up EXIT

rm -f "$image"
truncate -s 6G "$image"
mke2fs -q -F -t ext4 -E lazy_itable_init=0 "$image"
mount -o loop "$image" "$mount"
mkdir "$mount/data"
chown postgres "$mount/data"
as_postgres "$bin/initdb" -D "$mount/data" --no-sync >/dev/null
start
as_postgres createdb -h "$socket" bench
as_postgres "$bin/pgbench" -h "$socket" -q -i -s 130 bench 2>/dev/null
stop
umount "$mount"
cp --sparse=always "$image" "$folder/database-1.img"

mount -o loop "$image" "$mount"
start
as_postgres "$bin/pgbench" -h "$socket" -n -c 4 -t 10000 --random-seed=1 bench >/dev/null 2>&1
as_postgres psql -h "$socket" -qc checkpoint bench
stop
umount "$mount"
cp --sparse=always "$image" "$folder/database-2.img"
