# The project's trainer, whose lock file was installed without the CUDA libraries, with stand-ins in their place.
ARG BASE
# its stage with the lock file's packages
ARG PACKAGES

FROM ${PACKAGES} AS compiled
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY cuda.py /cuda.py
RUN python3 /cuda.py /opt/isthmus/lib/python3.*/site-packages/torch/lib /stand-ins

FROM ${BASE} AS trainer
COPY --from=compiled /stand-ins /usr/local/lib/
USER 0
RUN /sbin/ldconfig
USER 10001:10001
