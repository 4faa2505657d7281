"""A site's gateway: the bootstrap of an Envoy that prefers its own site's replica. Pure.

Field names and behaviour: Envoy's v3 API reference, for the version that `locks/` pins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workloads.spec.base import Credentials, Endpoint

_TYPE = "type.googleapis.com/envoy"
_CONNECT_TIMEOUT = "2s"
_REQUEST_TIMEOUT = "15s"
_TRY_TIMEOUT = "5s"
_STREAM_IDLE_TIMEOUT = "120s"
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
) -> dict[str, Any]:
    """The configuration of the gateway of `site`, as JSON values. `replicas` come in order of preference after its own."""
    return {
        "node": {"id": f"{site}-gateway", "cluster": "isthmus", "locality": {"zone": site}},
        "admin": {"address": _address(admin)},
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
            "clusters": [_cluster(site, replicas, credentials)],
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
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "normalize_path": True,
        "merge_slashes": True,
        "route_config": {"name": "local", "virtual_hosts": [_routes()]},
        "http_filters": [
            {
                "name": "buffer",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer",
                    # the replica refuses at the limit with its protocol's error; this is for what ignores that
                    "max_request_bytes": max_request_bytes + 65536,
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
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _routes() -> dict[str, Any]:
    retry = {
        # what never reached a replica, or was answered by one that is going away, may be asked again elsewhere
        "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-status-codes",
        "retriable_status_codes": [503],
        "num_retries": 3,
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


def _cluster(site: str, replicas: Sequence[Replica], credentials: Credentials) -> dict[str, Any]:
    ordered = sorted(replicas, key=lambda replica: replica.site != site)
    return {
        "name": _CLUSTER,
        "type": "STATIC",
        "connect_timeout": _CONNECT_TIMEOUT,
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": _CLUSTER,
            "endpoints": [_locality(replica, priority) for priority, replica in enumerate(ordered)],
            # a site that is half well is not half used: its replica answers or it does not
            "policy": {"overprovisioning_factor": 140},
        },
        # with nobody well it is better to answer 503 at once than to try the dead
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "2s",
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
