"""Run a function on a thread of its own that may use MLX.

MLX streams belong to the thread that made them, and a process whose streams are still open at exit may abort. So
whatever a test does with MLX outside the engine, it does inside one function that is run here.
"""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_with_mlx"]

Result = TypeVar("Result")


def run_with_mlx(function: Callable[[], Result]) -> Result:
    """Run ``function`` on a new thread and close the thread's MLX streams; it must return no array."""

    def body() -> Result:
        import mlx.core as mx

        try:
            return function()
        finally:
            gc.collect()
            mx.synchronize()
            mx.clear_streams()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(body).result()
