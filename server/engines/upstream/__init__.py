"""Any number of OpenAI-compatible servers as engines, one for each model that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from decoders.core.engine import Engine
from server.engines.upstream.cluster import Cluster
from server.engines.upstream.engine import UpstreamEngine
from server.engines.upstream.host import Host

if TYPE_CHECKING:
    from server.model_options import ModelOptions

__all__ = ["Cluster", "UpstreamEngine", "connect"]


async def connect(options: ModelOptions) -> Mapping[str, Engine]:
    """An engine for each model of the hosts, by the name it is served under.

    Raises `ValueError` for settings that cannot be, `EngineUnavailable` where no host answers or a key is refused.
    """
    if not options.hosts:
        raise ValueError("the upstream engine needs at least one --upstream URL")
    settings = options.upstream_options
    cluster = Cluster([Host(host, settings) for host in options.hosts], settings, options.model)
    try:
        await cluster.start()
        if options.served_name and len(cluster.models) > 1:
            message = f"served_name {options.served_name!r} is for one model: choose one with model, of"
            raise ValueError(f"{message} {', '.join(cluster.models)}")
        words = None
        if settings.tokenizer is not None:
            from server.engines.embedded.tokenizer import ChatTokenizer

            words = ChatTokenizer(settings.tokenizer)
        names = {options.served_name or name: name for name in cluster.models}
        return {
            served: UpstreamEngine(cluster, name, model=served, options=settings, words=words)
            for served, name in names.items()
        }
    except BaseException:
        await cluster.aclose()
        raise
