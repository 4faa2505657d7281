# What drills ask with, from inside the cluster.
ARG BASE

FROM ${BASE} AS probe
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl python3 \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
CMD ["python3"]
