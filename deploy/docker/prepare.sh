#!/bin/sh
# Makes the secrets of compose.yaml, once each: a secret that is there stays as it is.
# They lie in /etc/pilot-gateway/secrets, or where PILOT_SECRETS says; compose.yaml looks there too.
set -eu
directory=${PILOT_SECRETS:-/etc/pilot-gateway/secrets}
mkdir -p "$directory"
chmod 700 "$directory"
for name in mqtt_password influxdb_password influxdb_token; do
    [ -s "$directory/$name" ] && continue
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$directory/$name"
    # The containers read them as users of their own; the folder keeps everybody else out.
    chmod 444 "$directory/$name"
    echo "made $directory/$name"
done
