# Debian's PostgreSQL in the place of the official image: the same user, paths and variables, as far as the platform uses them.
ARG BASE

FROM ${BASE} AS postgres
# users first, with the official image's number; no database is made by the installation itself
RUN groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/sh postgres \
    && apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-common \
    && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    # its compiler of queries, 160 MB, which it does without
    && rm -rf /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* \
         /usr/lib/*/libLLVM* /usr/lib/*/libz3* \
    && ln -s /usr/lib/postgresql/*/bin /usr/lib/postgresql/bin \
    && install --directory --owner 999 --group 999 /var/lib/postgresql/data
COPY postgres.sh /usr/local/bin/postgres.sh
ENV PATH=/usr/lib/postgresql/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PGDATA=/var/lib/postgresql/data
# quick and clean: connections are ended, the write-ahead log is closed
STOPSIGNAL SIGINT
USER 999:999
EXPOSE 5432
ENTRYPOINT ["sh", "/usr/local/bin/postgres.sh"]
CMD ["postgres"]
