# syntax=docker/dockerfile:1
# What answers: `python -m workloads.inference SPEC`, on port 8080, with its health on 8081.
# Build from the root of the repository:  docker buildx build --file infra/images/inference.Dockerfile .
# A mirror of packages comes by build arguments, its credentials and its certificate's authority by secrets; none of it
# is in the image:
#   --build-arg PIP_INDEX_URL=… --build-arg UV_INDEX_URL=… --secret id=netrc,src=$HOME/.netrc
#   --secret id=authorities,src=/etc/ssl/certs/ca-certificates.crt

# Python of Debian, or Debian itself, which gets its own Python. Give it by digest: --build-arg BASE=…@sha256:…
ARG BASE=docker.io/library/python:3.12-slim-trixie

FROM ${BASE} AS python
RUN if ! command -v python3 >/dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi

FROM python AS packages
ARG PIP_INDEX_URL=https://pypi.org/simple
ARG UV_INDEX_URL=https://pypi.org/simple
COPY locks/uv.txt locks/serve.txt /locks/
RUN --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=authorities,target=/run/secrets/authorities \
    if [ -s /run/secrets/authorities ]; then \
      export PIP_CERT=/run/secrets/authorities SSL_CERT_FILE=/run/secrets/authorities; \
    fi \
    && python3 -m venv /uv \
    && /uv/bin/python -m pip install --no-cache-dir --require-hashes --requirement /locks/uv.txt \
    && /uv/bin/uv venv --python "$(command -v python3)" /opt/isthmus \
    && /uv/bin/uv pip sync --no-cache --compile-bytecode --require-hashes \
         --python /opt/isthmus/bin/python /locks/serve.txt
COPY infra/images/sbom.py /sbom.py
RUN /opt/isthmus/bin/python /sbom.py inference > /opt/isthmus/sbom.cdx.json

FROM python AS inference
ARG VERSION=unversioned
LABEL org.opencontainers.image.title="isthmus-inference" \
      org.opencontainers.image.description="Serves one model by the Open Inference Protocol" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 isthmus \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin isthmus
COPY --from=packages /opt/isthmus /opt/isthmus
COPY workloads/__init__.py /srv/isthmus/workloads/
COPY workloads/delivery /srv/isthmus/workloads/delivery
COPY workloads/inference /srv/isthmus/workloads/inference
COPY workloads/registry /srv/isthmus/workloads/registry
COPY workloads/spec /srv/isthmus/workloads/spec
COPY workloads/trainer /srv/isthmus/workloads/trainer
# The root can be read-only: caches go to /tmp, which the pod mounts.
ENV PATH=/opt/isthmus/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/srv/isthmus \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
WORKDIR /srv/isthmus
USER 10001:10001
EXPOSE 8080 8081
# Kubernetes has probes of its own; this is for whoever runs the image without it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/v2/health/ready', timeout=2)"]
ENTRYPOINT ["python", "-m"]
CMD ["workloads.inference", "--help"]
