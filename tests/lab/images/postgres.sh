# Makes the database where there is none, then becomes the server. Any other command is run as it is.
#   PGDATA, POSTGRES_PASSWORD, POSTGRES_USER (postgres), POSTGRES_DB (the user's name)
set -eu
[ "${1:-}" = postgres ] || exec "$@"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?there is no database in $PGDATA, and none is made without POSTGRES_PASSWORD}"
    user=${POSTGRES_USER:-postgres}
    # made beside its place: whoever ends this half-way leaves nothing that looks like a database
    new=$PGDATA.new
    rm -rf "$new"
    printf '%s\n' "$POSTGRES_PASSWORD" | initdb --pgdata "$new" --username "$user" --pwfile /dev/stdin \
        --encoding UTF8 --locale C.UTF-8 --auth-local trust --auth-host scram-sha-256
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        printf 'CREATE DATABASE "%s";\n' "${POSTGRES_DB:-$user}" | postgres --single -D "$new" postgres >/dev/null
    fi
    [ ! -d "$PGDATA" ] || rmdir "$PGDATA"
    mv "$new" "$PGDATA"
fi
unset POSTGRES_PASSWORD
exec "$@" -c 'listen_addresses=*'
