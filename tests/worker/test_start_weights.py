"""A training that starts from a file of weights that a user brought, or is refused with what is wrong."""

import io
from collections.abc import Callable, Mapping

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from core.domain.runs import Run, WorkState
from core.models.registry import build_model
from core.services import start_weights
from core.storage import runs
from core.storage.store import Store
from core.worker import __main__ as worker
from tests.worker.small_runs import (
    SMALL,
    Moments,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
    claim_of,
    kill_training,
    know_small_parts,
)
