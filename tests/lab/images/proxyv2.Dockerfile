# Istio's sidecar, and the container that turns a pod's traffic to it: the agent, Envoy, and iptables for the latter.
ARG BASE

FROM ${BASE} AS proxyv2
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates iptables nftables \
    && rm -rf /var/lib/apt/lists/*
COPY envoy_bootstrap_tmpl.json /var/lib/istio/envoy/envoy_bootstrap_tmpl.json
COPY envoy /usr/local/bin/envoy
COPY pilot-agent /usr/local/bin/pilot-agent
ENTRYPOINT ["/usr/local/bin/pilot-agent"]
