# syntax=docker/dockerfile:1
# The trainer with EFA's user space below /opt/amazon: rdma-core, libfabric and NCCL's plugin for it. Only for nodes that
# have EFA: the kernel's part is theirs. Built by a stack that has such a pool, on the trainer that it has just built, or:
#   docker buildx build --file infra/images/trainer-efa.Dockerfile --build-arg BASE=…/trainer@sha256:… .
# BASE is a trainer on Debian 12 or 13, or on Ubuntu 22.04 or 24.04: others the installer refuses.
ARG BASE

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-changelog.html has the versions: in 1.50.0 these are libfabric
# 2.6.0amzn1.0 and aws-ofi-nccl 1.21.1. AWS publishes their hashes in the same guide, "efa-verify".
FROM scratch AS installer
ARG EFA_URL=https://efa-installer.amazonaws.com
ARG EFA_VERSION=1.50.0
ARG EFA_SHA256=fa6dff8593d866866c13cb4640d9059835cd4efa427971f100ab40c97bef2841
ADD --checksum=sha256:${EFA_SHA256} ${EFA_URL}/aws-efa-installer-${EFA_VERSION}.tar.gz /installer.tar.gz

FROM ${BASE} AS trainer-efa
ARG VERSION=unversioned
LABEL org.opencontainers.image.title="isthmus-trainer-efa" \
      org.opencontainers.image.description="Trains one model across sites, by EFA within one" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0:0
# The options are those for containers: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-installer-containers.html
# The last two lines fail the build where NCCL would not find the plugin, or that not its libfabric.
RUN --mount=type=bind,from=installer,source=/installer.tar.gz,target=/installer.tar.gz \
    mkdir /tmp/efa \
    && tar --extract --gzip --file /installer.tar.gz --directory /tmp/efa --strip-components=1 --no-same-owner \
    && apt-get update \
    && cd /tmp/efa \
    && ./efa_installer.sh -y --skip-kmod --skip-limit-conf --no-verify --skip-mpi \
    && rm -rf /tmp/efa /var/lib/apt/lists/* \
    && printf '%s\n' /opt/amazon/efa/lib /opt/amazon/ofi-nccl/lib > /etc/ld.so.conf.d/isthmus-efa.conf \
    && ldconfig \
    && ldconfig -p | grep 'libnccl-net-ofi\.so .* => /opt/amazon/' \
    && ldconfig -p | grep 'libfabric\.so\.1 .* => /opt/amazon/'
USER 10001:10001
