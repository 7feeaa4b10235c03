"""Models that outgrow one machine: several processes, started together by ``mlx.launch``, share the weights of a model.

    mlx.launch -n 2 ...      every process runs the same command, and learns its rank from the environment

Rank 0 is where requests come in: it runs an `Engine` as ever and loads a `ModelSpec` whose ``shard`` is "tensor" (each
process computes a part of every layer) or "pipeline" (each computes some of the layers). The others, for which
`process_group.is_follower` is true, call `harmony_ls.engine.loading.follower.run_follower` with the same spec and do
nothing else. Every process reads its own copy of the model's folder, and of the weights only its part. A process has
one sharded model at a time; models that are not sharded may be resident beside it on rank 0.

Which steps the others take with rank 0 is the matter of `harmony_ls.engine.distributed.mirror`. Here the processes
share out the weights, and agree on whether that was done.
"""

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harmony_ls.engine.distributed.process_group import lost_is_told
from harmony_ls.engine.models.model import ModelSpec, Shard
from harmony_ls.engine.wording import brief
from harmony_ls.errors import ModelError

__all__ = ["check_shard_spec", "loading_together", "shard_network"]

log = logging.getLogger(__name__)


@contextmanager
def loading_together(group: Any, shard: Shard) -> Iterator[Callable[[Path], None]]:
    """Do the body on all ranks or on none: where it fails on one, the others raise ModelError too.

    The body calls what it is given with the folder of its model, so that ranks with different models are found out.
    """
    checksums: list[int] = []

    def loads(folder: Path) -> None:
        checksums.append(zlib.crc32((folder / "config.json").read_bytes() + shard.encode()) & 0x7FFFFFFF)

    try:
        yield loads
    except BaseException:
        try:
            _votes(group, has_loaded=0, checksum=0)
        except ModelError as error:
            log.warning("%s", error)  # why this part was not loaded matters more
        raise
    votes = _votes(group, has_loaded=1, checksum=checksums[-1])
    failed = [str(voter) for voter, (has_loaded, _) in enumerate(votes) if not has_loaded]
    if failed:
        raise ModelError(
            f"The process of rank {', '.join(failed)} could not load its part of the model. See what it says, and load "
            "the model again."
        )
    if len({checksum for _, checksum in votes}) > 1:
        raise ModelError("The processes were given different models. Name the same model and options to all of them.")


def check_shard_spec(spec: ModelSpec, size: int, config: dict[str, Any], name: str) -> None:
    """Raise ModelError where a model cannot be shared by ``size`` processes, as far as its configuration tells."""
    if spec.cache_options.kv_bits is not None or spec.cache_options.max_kv_size is not None:
        raise ModelError(f"{name} is sharded, and its key-value caches stay whole. Unset kv_bits and max_kv_size.")
    holder = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    if spec.shard == "tensor":
        for key in ("num_attention_heads", "num_key_value_heads"):
            n_heads = (holder or {}).get(key)
            if isinstance(n_heads, int) and n_heads % size:
                raise ModelError(
                    f"{size} processes cannot share the {n_heads} heads of {name} ({key}). Start a number of processes "
                    'that divides it, or shard by "pipeline".'
                )


def shard_network(network: Any, group: Any, shard: Shard, name: str) -> None:
    """Leave this rank's part of a lazily loaded network; nothing is read from the disk yet.

    Raises ModelError where mlx-lm cannot share out this architecture in this way.
    """
    ways = [way for way, is_known in (("tensor", hasattr(network, "shard")), ("pipeline", _pipes(network))) if is_known]
    if shard not in ways:
        remedy = f'Shard by "{ways[0]}".' if ways else "Choose another model."
        raise ModelError(f'mlx-lm cannot shard {name} by "{shard}". {remedy}')
    try:
        if shard == "tensor":
            network.shard(group)
        else:
            network.model.pipeline(group)
    except Exception as error:
        # Sizes that cannot be divided fail anywhere in the code of the architecture.
        raise ModelError(
            f"{group.size()} processes cannot share {name}: {brief(error)} Start another number of them."
        ) from error


def _pipes(network: Any) -> bool:
    return hasattr(getattr(network, "model", None), "pipeline")


def _votes(group: Any, has_loaded: int, checksum: int) -> list[tuple[int, int]]:
    """What each rank says, by rank. Raises ModelError where one is gone."""
    import mlx.core as mx

    with lost_is_told():
        said = mx.distributed.all_gather(mx.array([[has_loaded, checksum]], dtype=mx.int32), group=group)
        votes: Any = said.tolist()
    return [(vote[0], vote[1]) for vote in votes]
