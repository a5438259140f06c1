"""Writes a checkpoint as an ONNX graph in memory. Rule: what the graph would compute differently is refused.

One layer body serves Llama, Mistral, Qwen2 and Qwen3: they differ in biases and in a norm on queries and keys, which
show in the names of the weights. Keys and values live in the caller's buffers: GroupQueryAttention writes new
positions in place. Only the hidden state at `last` of each row meets the output head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.engines.embedded.checkpoint import Checkpoint, Settings, Weights, inverse_frequencies, rope, weights, window

ARCHITECTURES = frozenset({"Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"})
_MICROSOFT = "com.microsoft"
_INLINE = 1024
"""Bytes from which a tensor stays outside the graph's protobuf, whose size is limited to 2 GiB."""


class UnsupportedCheckpoint(Exception):
    """The exporter does not know this architecture; the torch backend may."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that a key-value cache and a caller need."""

    layers: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int

    @classmethod
    def of(cls, config: Settings) -> Shape:
        """Read from config.json."""
        heads = int(config["num_attention_heads"])
        return cls(
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            key_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or config["hidden_size"] // heads),
            vocabulary=int(config["vocab_size"]),
        )


@dataclass(frozen=True, slots=True)
class Exported:
    """A serialised graph and the large tensors it refers to by name."""

    graph: bytes
    tensors: Weights
    shape: Shape


def refusal(config: Settings, context: int) -> str | None:
    """Why this checkpoint cannot be exported, or None."""
    architecture = (config.get("architectures") or ["?"])[0]
    if architecture not in ARCHITECTURES:
        return f"architecture {architecture}"
    if config.get("quantization_config"):
        return "quantised weights"
    if config.get("hidden_act", "silu") != "silu":
        return f"activation {config['hidden_act']}"
    if (window(config) or context) < context:
        return "a sliding window shorter than the context"
    if Shape.of(config).head % 8:
        return f"heads of {Shape.of(config).head}, which is not a multiple of 8"
    settings = rope(config)
    if float(settings.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))) != 1.0:
        return "partial rotary embeddings"
    try:
        inverse_frequencies(settings, 8)
    except (ValueError, KeyError) as error:
        return str(error)
    return None


def export(checkpoint: Checkpoint, context: int, read: Weights | None = None) -> Exported:
    """The graph of a checkpoint, or of other weights `read` for it.

    Raises `UnsupportedCheckpoint`, naming what the exporter cannot write.
    """
    if reason := refusal(checkpoint.config, context):
        raise UnsupportedCheckpoint(f"{checkpoint.folder} cannot be exported: {reason}")
    shape = Shape.of(checkpoint.config)
    try:
        found = weights(checkpoint.folder) if read is None else read
        builder = _Builder(shape, found, float(checkpoint.config["rms_norm_eps"]))
        builder.model(inverse_frequencies(rope(checkpoint.config), shape.head), context)
    except KeyError as error:
        raise UnsupportedCheckpoint(f"{checkpoint.folder} has no tensor {error}") from error
    return Exported(builder.serialise(), builder.tensors, shape)


@dataclass(slots=True)
class _Builder:
    """Grows the list of nodes; every method returns the name of its output."""

    shape: Shape
    weights: Weights
    epsilon: float
    nodes: list[Any] = field(default_factory=list)
    tensors: Weights = field(default_factory=dict)
    integers: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def model(self, frequencies: NDArray[np.float64], context: int) -> None:
        """Embedding, layers, final norm, head."""
        angles = np.outer(np.arange(context), frequencies)
        self.tensors["cos"], self.tensors["sin"] = np.cos(angles).astype("f4"), np.sin(angles).astype("f4")
        self._widths()
        self.tensors["embedding"] = self.weights["model.embed_tokens.weight"]
        stream, change = self._op("Gather", ["embedding", "input_ids"], "embedded"), ""
        for layer in range(self.shape.layers):
            stream, change = self._layer(layer, stream, change)
        final, _ = self._add_norm(stream, change, "model.norm", "final")
        last = self._op("GatherND", [final, "last"], "final_last", batch_dims=1)
        head = "embedding"
        if "lm_head.weight" in self.weights:
            head = "head"
            self.tensors[head] = self.weights["lm_head.weight"]
        self._op("Gemm", [last, head], "logits", transB=1)

    def serialise(self) -> bytes:
        """The protobuf; large tensors are references that the session resolves by name."""
        from onnx import TensorProto, helper, numpy_helper

        def value(name: str, kind: int, dimensions: list[str | int]) -> Any:
            return helper.make_tensor_value_info(name, kind, dimensions)

        caches = [(i, side) for i in range(self.shape.layers) for side in ("key", "value")]
        kept: list[str | int] = ["batch", self.shape.key_heads, "capacity", self.shape.head]
        inputs = [value("input_ids", TensorProto.INT64, ["batch", "sequence"])]
        inputs += [value("last", TensorProto.INT64, ["batch", 1])]
        inputs += [value("lengths", TensorProto.INT32, ["batch"]), value("total", TensorProto.INT32, [])]
        inputs += [value(f"past.{i}.{side}", TensorProto.FLOAT, kept) for i, side in caches]
        outputs = [value("logits", TensorProto.FLOAT, ["batch", self.shape.vocabulary])]
        outputs += [value(f"present.{i}.{side}", TensorProto.FLOAT, kept) for i, side in caches]
        small = [name for name, tensor in self.tensors.items() if tensor.nbytes < _INLINE]
        constants = [numpy_helper.from_array(self.tensors.pop(name), name) for name in small]
        constants += [numpy_helper.from_array(tensor, name) for name, tensor in self.integers.items()]
        constants += [_reference(name, tensor) for name, tensor in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, constants)
        sets = [helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)]
        serialised: bytes = helper.make_model(graph, opset_imports=sets, ir_version=10).SerializeToString()
        return serialised

    def _widths(self) -> None:
        query, key = self.shape.heads * self.shape.head, self.shape.key_heads * self.shape.head
        wide = self.weights["model.layers.0.mlp.gate_proj.weight"].shape[0]
        constants = {
            "by_query_head": [0, -1, self.shape.heads, self.shape.head],
            "by_key_head": [0, -1, self.shape.key_heads, self.shape.head],
            "flat_query": [0, -1, query],
            "flat_key": [0, -1, key],
            "split_attention": [query, key, key],
            "split_mlp": [wide, wide],
        }
        self.integers.update({name: np.array(sizes, np.int64) for name, sizes in constants.items()})

    def _layer(self, number: int, stream: str, change: str) -> tuple[str, str]:
        """Takes the residual stream and what is still to be added to it, and returns both after the layer."""
        prefix, name = f"model.layers.{number}", f"l{number}"
        normed, stream = self._add_norm(stream, change, f"{prefix}.input_layernorm", f"{name}.in")
        mixed = self._attention(number, normed)
        normed, stream = self._add_norm(stream, mixed, f"{prefix}.post_attention_layernorm", f"{name}.mid")
        both = self._linear(normed, [f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj"], f"{name}.gate_up")
        gate, up = self._split(both, "split_mlp", [f"{name}.gate", f"{name}.up"])
        active = self._op("Mul", [gate, self._op("Sigmoid", [gate], f"{name}.sigmoid")], f"{name}.silu")
        inner = self._op("Mul", [active, up], f"{name}.inner")
        return stream, self._linear(inner, [f"{prefix}.mlp.down_proj"], f"{name}.down")

    def _attention(self, number: int, normed: str) -> str:
        prefix, name = f"model.layers.{number}.self_attn", f"l{number}"
        both = self._linear(normed, [f"{prefix}.{side}_proj" for side in "qkv"], f"{name}.qkv")
        query, key, value = self._split(both, "split_attention", [f"{name}.{side}" for side in "qkv"])
        if f"{prefix}.q_norm.weight" in self.weights:
            query = self._head_norm(query, f"{prefix}.q_norm", "query")
            key = self._head_norm(key, f"{prefix}.k_norm", "key")
        past, present = ([f"{time}.{number}.{side}" for side in ("key", "value")] for time in ("past", "present"))
        self._node(
            "GroupQueryAttention",
            [query, key, value, *past, "lengths", "total", "cos", "sin"],
            [f"{name}.mixed", *present],
            _MICROSOFT,
            num_heads=self.shape.heads,
            kv_num_heads=self.shape.key_heads,
            scale=self.shape.head**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return self._linear(f"{name}.mixed", [f"{prefix}.o_proj"], f"{name}.out")

    def _head_norm(self, x: str, weight: str, side: str) -> str:
        split = self._op("Reshape", [x, f"by_{side}_head"], f"{x}.heads")
        normed = self._norm(split, weight, f"{x}.normed")
        return self._op("Reshape", [normed, f"flat_{side}"], f"{x}.flat")

    def _norm(self, x: str, weight: str, name: str) -> str:
        self.tensors[f"{name}.weight"] = self.weights[f"{weight}.weight"]
        inputs = [x, f"{name}.weight"]
        return self._op("SimplifiedLayerNormalization", inputs, name, axis=-1, epsilon=self.epsilon, stash_type=1)

    def _add_norm(self, stream: str, change: str, weight: str, name: str) -> tuple[str, str]:
        """The norm of stream + change, and that sum."""
        if not change:
            return self._norm(stream, weight, name), stream
        self.tensors[f"{name}.weight"] = self.weights[f"{weight}.weight"]
        inputs, outputs = [stream, change, f"{name}.weight"], [name, "", "", f"{name}.sum"]
        self._node("SkipSimplifiedLayerNormalization", inputs, outputs, _MICROSOFT, epsilon=self.epsilon)
        return name, f"{name}.sum"

    def _linear(self, x: str, projections: list[str], name: str) -> str:
        """Projections of the same input, side by side in one product."""
        rows = np.concatenate([self.weights[f"{projection}.weight"] for projection in projections])
        self.tensors[f"{name}.weight"] = np.ascontiguousarray(rows.T)
        product = self._op("MatMul", [x, f"{name}.weight"], name)
        biases = [self.weights.get(f"{projection}.bias") for projection in projections]
        if all(bias is None for bias in biases):
            return product
        sizes = [self.weights[f"{projection}.weight"].shape[0] for projection in projections]
        whole = [np.zeros(n, np.float32) if bias is None else bias for bias, n in zip(biases, sizes, strict=True)]
        self.tensors[f"{name}.bias"] = np.concatenate(whole)
        return self._op("Add", [product, f"{name}.bias"], f"{name}.biased")

    def _split(self, x: str, sizes: str, names: list[str]) -> list[str]:
        self._node("Split", [x, sizes], names, axis=-1)
        return names

    def _op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._node(kind, inputs, [output], **attributes)
        return output

    def _node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, name=outputs[0], **attributes))


def _reference(name: str, tensor: NDArray[np.float32]) -> Any:
    from onnx import TensorProto

    proto = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=tensor.shape)
    proto.data_location = TensorProto.EXTERNAL
    proto.external_data.add(key="location", value="memory")
    return proto
