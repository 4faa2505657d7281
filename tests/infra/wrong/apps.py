"""Mistakes in what runs there: serving, artefacts, images, the recipe."""

from tests.infra.wrong.case import Wrong, wrong

VLLM = {"cloud.serving.runtime": "vllm", "cloud.serving.gpus": 1, "cloud.images.vllm": "registry.example.org/vllm:1"}

SERVING = [
    wrong("cloud.queues", {"borrow": 1.5}, "borrow 1.5", "above 1", "set 1 or less"),
    wrong("cloud.queues", {"lend": -0.1}, "lend -0.1", "below 0", "set 0 or more"),
    wrong("cloud.serving.host", "models_dev", "'models_dev'", "not a DNS name", "write one such as models.example.org"),
    wrong("cloud.serving.access.audiences", [], "audiences []", "at least 1", "add", stack="staging"),
    wrong(
        "cloud.serving.access",
        {"issuer": "https://a.example.org", "jwks": "https://a.example.org/k"},
        "audiences",
        "is missing",
        "add it",
    ),
    wrong(
        "cloud.serving.replicas",
        {"min": 4, "desired": 2, "max": 3},
        "min 4, desired 2, max 3",
        "rising order",
        "set min",
    ),
    wrong(
        "cloud.serving.replicas",
        {"max": 30},
        "31 replicas on a node",
        "less than half",
        "lower cloud.serving.replicas.max",
    ),
    wrong("cloud.serving.requests_per_replica", 0, "requests_per_replica 0", "not above 0", "set more than 0"),
    wrong(
        "cloud.serving.gpus",
        1,
        "serving.gpus 1",
        "runtime onnx, which computes on the CPU",
        "set cloud.serving.gpus: 0",
    ),
    Wrong({**VLLM, "cloud.serving.gpus": 0}, "serving.gpus is 0", "vllm needs GPUs", "set cloud.serving.gpus to 1"),
    Wrong({**VLLM, "cloud.images.vllm": None}, "runtime vllm", "has no image", "set cloud.images.vllm"),
    Wrong(
        {**VLLM, "training.recipe": "iris"}, "recipe iris", "serves language models", "set cloud.serving.runtime: onnx"
    ),
    Wrong({**VLLM, "cloud.serving.gpus": 4}, "4 GPUs", "1 at most", "lower cloud.serving.gpus, or add a pool"),
    Wrong(VLLM, "1 of 1 GPUs", "none for training", "or add nodes"),
    wrong(
        "cloud.cluster.monitored", False, "monitored is false", "needs Prometheus", "set cloud.serving.scale_on: cpu"
    ),
]

REST = [
    wrong(
        "cloud.storage.replica_region", "eu-central-1", "eu-central-1", "where they are already", "to another region"
    ),
    wrong("cloud.storage.noncurrent_days", 0, "noncurrent_days 0", "not above 0", "set more than 0"),
    wrong(
        "cloud.storage.restore_from",
        "isthmus-prod-replica",
        "restore_from isthmus-prod-replica",
        "not trusted",
        "set cloud.recovery.trusted_key",
    ),
    wrong("cloud.storage.restore_from", "s3://Lost", "'s3://Lost'", "not a bucket's name", "write one such as"),
    wrong(
        "cloud.recovery.trusted_key",
        "-----BEGIN PUBLIC KEY-----",
        "BEGIN PUBLIC",
        "not a public key in PEM",
        "exports it",
    ),
    wrong(
        "cloud.images.trainer", "Trainer:latest", "'Trainer:latest'", "not an image reference", "registry.example.org"
    ),
    wrong("cloud.images.trainer", f"x@sha256:{'a' * 63}", "x@sha256:aa", "not an image reference", "of 64 hex digits"),
    wrong("cloud.images.pull", "Never", "pull Never", "no node would have them", "set pull: IfNotPresent"),
    wrong("cloud.monthly_budget_usd", 0, "monthly_budget_usd 0", "not above 0", "set more than 0"),
    wrong("cloud.contact", "nobody", "'nobody'", "not an e-mail address", "write one such as"),
    wrong("cloud.owner", "a,b/c", "'a,b/c'", "tags of both clouds", "write one such as ml-platform"),
    wrong("registry.alias", "Champion!", "alias 'Champion!'", "a-z", "write it so"),
    wrong("training.recipe", "irsi", "'irsi' is unknown", "iris, language", "choose one of"),
    wrong("training.overrides", {"train.inner.lr": -1}, "lr -1", "not above 0", "set more than 0"),
    wrong(
        "training.overrides",
        {"train.layout": {"shards": 4}},
        "aws-1 has 1 workers",
        "needs 4",
        "give the site 4 workers",
    ),
    wrong(
        "training.overrides",
        {"train.inner.batch": 3},
        "batch 3",
        "does not divide",
        "use a multiple of 4",
        stack="lab",
        **{
            "cloud.cluster.kubeconfig": "apiVersion: v1",
            "training.recipe": "iris",
            "sites.0.aws.gpu_pools.0.instance_type": "g6.12xlarge",
            "sites.1.openstack.gpu_servers.0.gpu.count": 4,
        },
    ),
    wrong(
        "training.overrides",
        {"train.inner.batch": 1 << 30, "train.inner.micro_batch": 1 << 30},
        "needs",
        "GiB a worker, has",
        "leave train.inner.micro_batch to the planner",
    ),
    wrong(
        "training.overrides",
        {"model.config.model_type": "hamster"},
        "'hamster'",
        "not known before it is built",
        "choose one of",
    ),
]
