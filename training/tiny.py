"""The shipped models before training: vocabulary, tokenizer, chat template and Qwen3 configuration.

Every word and every number that a task has is one token. The folder that `save` writes is a plain Hugging Face
checkpoint: transformers and vLLM load it unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PAD, UNKNOWN, OPEN, CLOSE = "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"
THINK, END_THINK = "<think>", "</think>"
WORDS = (
    *map(str, range(61)),
    *"+ - * = : ; , . ? ! ( )".split(),
    *"user assistant system use to make try left target x yes no at after answer progress none".split(),
    *"summarise check give hint start with guess wrong ok".split(),
)
"""Of Countdown."""
VOCABULARY_SIZE = 128
"""Rounded up with reserved words, so that a later task does not change the shape of the weights."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def tokenizer(task: Sequence[str] = WORDS, size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: decoded text has spaces between words, none before a comma, and encodes back exactly.

    `ValueError` where the words of the task are more than `size` has room for.
    """
    special = [PAD, UNKNOWN, OPEN, CLOSE, THINK, END_THINK]
    words = [*special, *task]
    if len(words) > size:
        raise ValueError(f"{len(words)} words do not fit into a vocabulary of {size}")
    words += [f"<reserved_{i}>" for i in range(size - len(words))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special[:4]])
    backend.add_tokens([AddedToken(word, special=False, normalized=False) for word in special[4:]])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=CLOSE,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def model(
    seed: int,
    words: PreTrainedTokenizerFast | None = None,
    *,
    width: int = 128,
    layers: int = 3,
    feed_forward: int = 384,
) -> Qwen3ForCausalLM:
    """A fresh Qwen3 in float32: heads of 32, tied embeddings, 654 thousand parameters at the defaults."""
    torch.manual_seed(seed)
    words = words or tokenizer()
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    net = Qwen3ForCausalLM(config)
    for name, parameter in net.named_parameters():
        if parameter.dim() == 2:
            deviation = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
            shrink = (2 * layers) ** -0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            torch.nn.init.normal_(parameter, std=deviation * shrink)
    return net


def save(
    net: Qwen3ForCausalLM,
    folder: Path,
    words: PreTrainedTokenizerFast | None = None,
    *,
    pack: str,
    temperature: float,
    card: str,
) -> None:
    """Write weights, tokenizer, generation defaults, the template pack's name and the model card."""
    net.generation_config.temperature = temperature
    net.generation_config.do_sample = True
    net.save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    (folder / "longthink.json").write_text(json.dumps({"pack": pack}, indent=2) + "\n")
    (folder / "README.md").write_text(card)
