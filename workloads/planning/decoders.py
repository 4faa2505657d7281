"""Models that write text, position by position: Llama and its like, and GPT-2."""

import math

from workloads.planning import layers
from workloads.planning.architecture import Architecture, Config, Sample
from workloads.planning.layers import Cost, total


def _head(sample: Sample, rows: float, width: int, vocabulary: int, *, tied: bool) -> Cost:
    """Logits over the vocabulary at every position, or over the classes from one."""
    if sample.classes is not None:
        return layers.linear(1, width, sample.classes, bias=False, hidden=False) + layers.loss(1, sample.classes)
    projection = layers.linear(rows, width, vocabulary, bias=False, hidden=False)
    shared = Cost(parameters=-width * vocabulary) if tied else Cost()
    return total(projection, shared, layers.loss(rows, vocabulary))


def llama(config: Config, sample: Sample) -> Architecture:
    """Llama (arXiv 2302.13971), Mistral and Qwen 2."""
    rows, width, inner = sample.length, int(config["hidden_size"]), int(config["intermediate_size"])
    heads = int(config["num_attention_heads"])
    groups = int(config.get("num_key_value_heads") or heads)
    head_width = int(config.get("head_dim") or width // heads)
    queries, keys = heads * head_width, groups * head_width
    is_qwen = config["model_type"] == "qwen2"
    bias, mlp_bias = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    attention = total(
        layers.linear(rows, width, queries, bias=bias or is_qwen),
        layers.linear(rows, width, keys, bias=bias or is_qwen) * 2,
        layers.rotary(rows, queries + keys),
        layers.attention(rows, heads, head_width, drop=float(config["attention_dropout"])),
        layers.linear(rows, queries, width, bias=bias),
    )
    feed_forward = total(
        layers.linear(rows, width, inner, bias=mlp_bias) * 2,
        layers.activation(str(config["hidden_act"]), rows * inner),
        layers.elementwise(rows * inner, traffic=3),
        layers.linear(rows, inner, width, bias=mlp_bias),
    )
    around = (layers.rms_norm(rows, width) + layers.residual(rows, width)) * 2
    vocabulary = int(config["vocab_size"])
    tied = bool(config["tie_word_embeddings"])
    ends = total(
        layers.embedding(rows, vocabulary, width),
        layers.rms_norm(rows, width),
        _head(sample, rows, width, vocabulary, tied=tied),
    )
    layer, count = total(attention, feed_forward, around), int(config["num_hidden_layers"])
    stages = count if sample.classes is None else 1
    return Architecture(layer, count, ends, rows, width, math.gcd(heads, groups, inner), stages)


def gpt2(config: Config, sample: Sample) -> Architecture:
    """GPT-2."""
    rows, width, heads = sample.length, int(config["n_embd"]), int(config["n_head"])
    inner = int(config.get("n_inner") or 4 * width)
    drop = float(config["resid_pdrop"])
    layer = total(
        layers.linear(rows, width, 3 * width),
        layers.elementwise(3 * rows * width, traffic=2, operations=3),  # queries, keys and values are cut apart
        layers.attention(rows, heads, width // heads, drop=float(config["attn_pdrop"])),
        layers.linear(rows, width, width),
        layers.linear(rows, width, inner),
        layers.activation(str(config["activation_function"]), rows * inner),
        layers.linear(rows, inner, width),
        (layers.layer_norm(rows, width) + layers.residual(rows, width) + layers.dropout(rows * width, drop)) * 2,
    )
    vocabulary = int(config["vocab_size"])
    ends = total(
        layers.embedding(rows, vocabulary, width),
        layers.embedding(rows, int(config["n_positions"]), width),
        layers.dropout(rows * width, float(config["embd_pdrop"])),
        layers.layer_norm(rows, width),
        _head(sample, rows, width, vocabulary, tied=bool(config["tie_word_embeddings"])),
    )
    return Architecture(layer, int(config["n_layer"]), ends, rows, width)
