"""Kinds of `transformers` models that the planner knows, with the defaults of their configurations."""

from typing import Any

from workloads.planning import decoders, encoders
from workloads.planning.architecture import Reader

_LLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "tie_word_embeddings": False,
}
_ENCODER: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
}
KINDS: dict[str, tuple[Reader, dict[str, Any]]] = {
    "llama": (decoders.llama, _LLAMA),
    "mistral": (decoders.llama, {**_LLAMA, "intermediate_size": 14336, "num_key_value_heads": 8}),
    "qwen2": (
        decoders.llama,
        {**_LLAMA, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32},
    ),
    "gpt2": (
        decoders.gpt2,
        {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "activation_function": "gelu_new",
            "resid_pdrop": 0.1,
            "embd_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "tie_word_embeddings": True,
        },
    ),
    "vit": (
        encoders.vit,
        {
            **_ENCODER,
            "image_size": 224,
            "patch_size": 16,
            "num_channels": 3,
            "qkv_bias": True,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    ),
    "bert": (
        encoders.bert,
        {
            **_ENCODER,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
        },
    ),
    "distilbert": (
        encoders.distilbert,
        {
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "dim": 768,
            "hidden_dim": 3072,
            "n_layers": 6,
            "n_heads": 12,
            "activation": "gelu",
            "dropout": 0.1,
            "attention_dropout": 0.1,
        },
    ),
    "wav2vec2": (
        encoders.wav2vec2,
        {
            **_ENCODER,
            "conv_dim": (512, 512, 512, 512, 512, 512, 512),
            "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
            "conv_stride": (5, 2, 2, 2, 2, 2, 2),
            "conv_bias": False,
            "feat_extract_norm": "group",
            "num_conv_pos_embeddings": 128,
            "num_conv_pos_embedding_groups": 16,
            "classifier_proj_size": 256,
            "use_weighted_layer_sum": False,
            "mask_time_prob": 0.05,
            "mask_feature_prob": 0.0,
            "hidden_dropout": 0.1,
            "attention_dropout": 0.1,
            "feat_proj_dropout": 0.0,
        },
    ),
}
