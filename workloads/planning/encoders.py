"""Models that tell classes apart: ViT, BERT, DistilBERT and wav2vec 2.0."""

import math

from workloads.planning import layers
from workloads.planning.architecture import Architecture, Config, Sample
from workloads.planning.layers import Cost, total

_BERT_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}


def _encoder_layer(
    rows: float, width: int, inner: int, heads: int, act: str, *, drop: float, attention_drop: float, bias: bool = True
) -> Cost:
    """A layer with LayerNorm, as ViT, BERT, DistilBERT and wav2vec 2.0 have it."""
    return total(
        layers.linear(rows, width, width, bias=bias) * 3,
        layers.attention(rows, heads, width // heads, drop=attention_drop),
        layers.linear(rows, width, width),
        layers.linear(rows, width, inner),
        layers.activation(act, rows * inner),
        layers.linear(rows, inner, width),
        (layers.layer_norm(rows, width) + layers.residual(rows, width) + layers.dropout(rows * width, drop)) * 2,
    )


def vit(config: Config, sample: Sample) -> Architecture:
    """The vision transformer (arXiv 2010.11929)."""
    width, patch, channels = int(config["hidden_size"]), int(config["patch_size"]), int(config["num_channels"])
    patches = (int(config["image_size"]) // patch) ** 2
    rows, classes = patches + 1, sample.classes or 0
    layer = _encoder_layer(
        rows,
        width,
        int(config["intermediate_size"]),
        int(config["num_attention_heads"]),
        str(config["hidden_act"]),
        drop=float(config["hidden_dropout_prob"]),
        attention_drop=float(config["attention_probs_dropout_prob"]),
        bias=bool(config["qkv_bias"]),
    )
    ends = total(
        layers.convolution(patches, channels, width, patch * patch),
        Cost(parameters=width + rows * width),  # the class token and the positions
        layers.residual(rows, width) * 2,
        layers.layer_norm(rows, width),
        layers.linear(1, width, classes, hidden=False),
        layers.loss(1, classes),
    )
    splits = math.gcd(int(config["num_attention_heads"]), int(config["intermediate_size"]))
    return Architecture(layer, int(config["num_hidden_layers"]), ends, rows, width, splits)


def bert(config: Config, sample: Sample) -> Architecture:
    """BERT (arXiv 1810.04805)."""
    rows, width = sample.length, int(config["hidden_size"])
    drop, classes = float(config["hidden_dropout_prob"]), _classes(sample, config)
    layer = _encoder_layer(
        rows,
        width,
        int(config["intermediate_size"]),
        int(config["num_attention_heads"]),
        str(config["hidden_act"]),
        drop=drop,
        attention_drop=float(config["attention_probs_dropout_prob"]),
    )
    sizes = (config.get(key) for key in ("vocab_size", "max_position_embeddings", "type_vocab_size"))
    tables = [int(size) for size in sizes if size is not None]
    ends = total(
        *(layers.embedding(rows, table, width) for table in tables),
        layers.residual(rows, width) * (len(tables) - 1),
        layers.layer_norm(rows, width),
        layers.dropout(rows * width, drop),
        layers.linear(1, width, width),
        layers.linear(1, width, classes, hidden=False),
        layers.loss(1, classes),
    )
    return Architecture(layer, int(config["num_hidden_layers"]), ends, rows, width)


def distilbert(config: Config, sample: Sample) -> Architecture:
    """DistilBERT (arXiv 1910.01108): BERT without token types, under names of its own."""
    return bert(config.renamed(_BERT_NAMES), sample)


def wav2vec2(config: Config, sample: Sample) -> Architecture:
    """wav2vec 2.0 (arXiv 2006.11477) with a classifier."""
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    feature_costs, rows, channels = _waveform_features(config, sample.length)
    layer = _encoder_layer(
        rows,
        width,
        int(config["intermediate_size"]),
        heads,
        str(config["hidden_act"]),
        drop=float(config["hidden_dropout"]),
        attention_drop=float(config["attention_dropout"]),
    )
    count, classes = int(config["num_hidden_layers"]), _classes(sample, config)
    taps, groups = int(config["num_conv_pos_embeddings"]), int(config["num_conv_pos_embedding_groups"])
    projected = int(config["classifier_proj_size"])
    is_masked = float(config["mask_time_prob"]) > 0 or float(config["mask_feature_prob"]) > 0
    own = taps + width * is_masked + (count + 1) * bool(config["use_weighted_layer_sum"])
    ends = total(
        feature_costs,
        layers.layer_norm(rows, channels),
        layers.linear(rows, channels, width),
        layers.dropout(rows * width, float(config["feat_proj_dropout"])),
        layers.convolution(rows, width, width, taps, groups=groups),
        Cost(parameters=own),  # norms of the convolution's taps (weight normalisation), the mask, weights of the layers
        layers.activation("gelu", rows * width),
        layers.residual(rows, width),
        layers.layer_norm(rows, width),
        layers.dropout(rows * width, float(config["hidden_dropout"])),
        layers.linear(rows, width, projected),
        layers.linear(1, projected, classes, hidden=False),
        layers.loss(1, classes),
    )
    return Architecture(layer, count, ends, rows, width)


def _waveform_features(config: Config, length: int) -> tuple[Cost, int, int]:
    """Convolutions over the sound: their cost, how many positions are left, and the channels of each."""
    widths, kernels, strides = (list(config[key]) for key in ("conv_dim", "conv_kernel", "conv_stride"))
    cost, inputs = Cost(), 1
    for index, (outputs, kernel, stride) in enumerate(zip(widths, kernels, strides, strict=True)):
        length = (length - kernel) // stride + 1
        if length < 1:
            raise ValueError(f"nothing is left of a recording after convolution {index + 1}")
        cost += layers.convolution(length, inputs, outputs, kernel, bias=bool(config["conv_bias"]))
        cost += layers.activation("gelu", length * outputs)
        if index == 0 or config["feat_extract_norm"] == "layer":
            cost += layers.layer_norm(length, outputs)
        inputs = outputs
    return cost, length, inputs


def _classes(sample: Sample, config: Config) -> int:
    if sample.classes is None:
        raise ValueError(f"a {config['model_type']} tells classes apart and writes no text")
    return sample.classes
