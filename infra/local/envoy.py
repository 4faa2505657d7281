"""A site's gateway: the bootstrap of an Envoy that prefers its own site's replica. Pure.

Field names and behaviour: Envoy's v3 API reference, for the version that `locks/` pins. Run as
`envoy --config-path FILE --concurrency 1 --use-dynamic-base-id`; the last lets several run on one machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workloads.spec.base import Credentials, Endpoint

_TYPE = "type.googleapis.com/envoy"
_CONNECT_S = 2.0
_HANDSHAKE_TRIPS = 4  # TCP, TLS, the request and its answer
_UPLOAD_TIMEOUT = "60s"
_REQUEST_TIMEOUT = "30s"
_TRY_TIMEOUT = "12s"
_STREAM_IDLE_TIMEOUT = "120s"
_BUFFER_SLACK = 65_536
# what can be looked at; whatever changes something, such as /quitquitquit, is left out
_ADMIN_PATHS = ("/ready", "/server_info", "/clusters", "/listeners", "/stats", "/certs")
_CLUSTER = "replicas"
_READY = "/v2/health/ready"


@dataclass(frozen=True)
class Replica:
    """A replica as this gateway reaches it: its own directly, the others through the link."""

    site: str
    endpoint: Endpoint


def bootstrap(
    *,
    site: str,
    listen: Endpoint,
    admin: Endpoint,
    replicas: Sequence[Replica],
    credentials: Credentials,
    max_request_bytes: int,
    rtt_ms: float = 0.0,
) -> dict[str, Any]:
    """The configuration of the gateway of `site`, as JSON values.

    `replicas` come in order of preference after its own, `rtt_ms` away at most. A request above `max_request_bytes` is
    the replica's to refuse, with its protocol's error; the gateway stops what is 64 KiB beyond.
    """
    patience = f"{_CONNECT_S + _HANDSHAKE_TRIPS * rtt_ms / 1e3:.3f}s"
    return {
        "node": {"id": f"{site}-gateway", "cluster": "isthmus", "locality": {"zone": site}},
        "admin": {"address": _address(admin), "allow_paths": [{"exact": path} for path in _ADMIN_PATHS]},
        # no more than a laptop's worth of users; past that a connection is refused and not queued
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 1024,
                    },
                }
            ]
        },
        "static_resources": {
            "listeners": [_listener(site, listen, max_request_bytes)],
            "clusters": [_cluster(site, replicas, credentials, patience)],
        },
    }


def _listener(site: str, listen: Endpoint, max_request_bytes: int) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": site,
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "stream_idle_timeout": _STREAM_IDLE_TIMEOUT,
        "request_headers_timeout": "10s",
        "request_timeout": _UPLOAD_TIMEOUT,
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "normalize_path": True,
        "merge_slashes": True,
        # who answered with what software is nobody's business
        "route_config": {"name": "local", "virtual_hosts": [_routes()], "response_headers_to_remove": ["server"]},
        "access_log": [_failures()],
        "http_filters": [
            {
                "name": "buffer",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": max_request_bytes + _BUFFER_SLACK,
                },
            },
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    return {
        "name": f"{site}-gateway",
        "address": _address(listen),
        # a request that is not held whole cannot be asked again elsewhere
        "per_connection_buffer_limit_bytes": max(1 << 20, max_request_bytes + _BUFFER_SLACK),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _failures() -> dict[str, Any]:
    """The access log: one JSON object on standard output for each request that the platform, not its user, failed."""
    at_least_500 = {"op": "GE", "value": {"default_value": 500, "runtime_key": "access_log.least_status"}}
    fields = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "reason": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "replica": "%UPSTREAM_HOST%",
        "duration_ms": "%DURATION%",
    }
    return {
        "name": "stdout",
        "filter": {"status_code_filter": {"comparison": at_least_500}},
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _routes() -> dict[str, Any]:
    retry = {
        # to answer changes nothing, so whatever failed before its answer began may be asked again elsewhere
        "retry_on": "connect-failure,refused-stream,reset,gateway-error",
        "num_retries": 2,
        "per_try_timeout": _TRY_TIMEOUT,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }
    streaming = {key: value for key, value in retry.items() if key != "per_try_timeout"}
    return {
        "name": "replicas",
        "domains": ["*"],
        "routes": [
            {
                # a stream of tokens lasts as long as it has something to say; silence ends it
                "match": {"prefix": "/v1/"},
                "route": {
                    "cluster": _CLUSTER,
                    "timeout": "0s",
                    "idle_timeout": _STREAM_IDLE_TIMEOUT,
                    "retry_policy": streaming,
                },
            },
            {
                "match": {"prefix": "/"},
                "route": {"cluster": _CLUSTER, "timeout": _REQUEST_TIMEOUT, "retry_policy": retry},
            },
        ],
    }


def _cluster(site: str, replicas: Sequence[Replica], credentials: Credentials, patience: str) -> dict[str, Any]:
    ordered = sorted(replicas, key=lambda replica: replica.site != site)
    return {
        "name": _CLUSTER,
        "type": "STATIC",
        "connect_timeout": patience,
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": _CLUSTER,
            "endpoints": [_locality(replica, priority) for priority, replica in enumerate(ordered)],
        },
        "common_lb_config": {
            # with nobody well it is better to answer 503 at once than to try the dead
            "healthy_panic_threshold": {"value": 0},
            # by default news of a replica's health waits a second for more: spared work with hundreds, lost requests with two
            "update_merge_window": "0s",
        },
        "health_checks": [
            {
                "timeout": patience,
                "interval": "2s",
                "no_traffic_interval": "2s",
                "interval_jitter": "0.2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": _READY, "host": "replica"},
            }
        ],
        "outlier_detection": {
            "consecutive_5xx": 3,
            "consecutive_gateway_failure": 2,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": "2s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "priority": "DEFAULT",
                    "max_connections": 256,
                    "max_pending_requests": 256,
                    "max_requests": 512,
                    "max_retries": 16,
                }
            ]
        },
        # each replica must show the certificate of its own site and of no other
        "transport_socket_matches": [
            {
                "name": replica.site,
                "match": {"site": replica.site},
                "transport_socket": _mutual_tls(replica.site, credentials),
            }
            for replica in ordered
        ],
    }


def _locality(replica: Replica, priority: int) -> dict[str, Any]:
    return {
        "locality": {"zone": replica.site},
        "priority": priority,
        "lb_endpoints": [
            {
                "endpoint": {"address": _address(replica.endpoint), "hostname": replica.site},
                "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"site": replica.site}}},
            }
        ],
    }


def _mutual_tls(site: str, credentials: Credentials) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": site,
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(credentials.certificate)},
                        "private_key": {"filename": str(credentials.key)},
                    }
                ],
                "validation_context": {
                    "trusted_ca": {"filename": str(credentials.ca)},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": site}}],
                },
            },
        },
    }


def _address(endpoint: Endpoint) -> dict[str, Any]:
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}
