"""What all models share: saving without pickle, and for those that map rows to rows, training and prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from qkan import training
from qkan.circuits.measured import MeasuredRows, MeasuredValues
from qkan.errors import ModelFileError, check_positive
from qkan.saving import load_folder, save_folder

#: A tensor or an array; what comes out is of the kind that went in.
Array = TypeVar("Array", Tensor, np.ndarray)
_Model = TypeVar("_Model", bound="SavedModel")
_ModelClass = TypeVar("_ModelClass", bound="type[SavedModel]")

_KINDS: dict[str, type[SavedModel]] = {}


def saved_as_own_kind(cls: _ModelClass) -> _ModelClass:
    """Class decorator: models of this class are saved under its name and found by it when loading."""
    _KINDS[cls.__name__] = cls
    return cls


class SavedModel(nn.Module):
    """A module whose constructor arguments :meth:`config` returns, so that it can be saved and rebuilt.

    Attributes:
        saves_measured: whether :meth:`config` also describes the network after deployment, when its DARUAN bases hold
            measured values.
    """

    saves_measured: ClassVar[bool] = False

    def config(self) -> dict[str, Any]:
        """Constructor arguments (JSON types only) that rebuild the model's structure."""
        raise TypeError(f"{type(self).__name__} must define config().")

    def save(self, path: str | Path) -> None:
        """Save as a folder: weights in safetensors, structure in JSON, written atomically.

        Raises:
            ModelFileError: ``path`` holds something else, or the structure cannot be written down.
        """
        self.check_measured()
        save_folder(path, type(self).__name__, self.config(), self.state_dict())

    def check_measured(self) -> None:
        """Raise :class:`~qkan.errors.ModelFileError` where it holds measured circuits that cannot be written down.

        Raises:
            ModelFileError: it holds some, and this kind of model cannot be saved with them.
        """
        for module in self.modules():
            if isinstance(module, MeasuredValues) and (isinstance(module, MeasuredRows) or not self.saves_measured):
                raise ModelFileError(
                    f"a {type(self).__name__} with these measured circuits cannot be saved; its ledger keeps the "
                    "measurements, and the same deployment builds it again at no cost."
                )

    @classmethod
    def load(cls: type[_Model], path: str | Path) -> _Model:
        """Load a model saved with :meth:`save`.

        Raises:
            ModelFileError: missing, damaged, or of another kind.
        """
        kind, config, tensors = load_folder(path)
        if kind not in _KINDS or not issubclass(_KINDS[kind], cls):
            raise ModelFileError(f"{path} holds a model of kind {kind!r}, not {cls.__name__!r}.")
        return rebuild(kind, config, tensors)


class Network(SavedModel):
    """A model that maps rows (..., n) to rows (..., m), with training and prediction."""

    _seen: Tensor | None = None

    def fit(self, dataset: Any, **options: Any) -> dict[str, Any]:
        """Train in place; see :func:`qkan.training.fit` for the options and the returned history.

        Up to 500 of the training inputs are remembered for plots (in memory only).
        """
        history = training.fit(self, dataset, **options)
        self._seen = training.some_inputs(dataset)
        return history

    def predict(self, x: Array, batch: int = 8192) -> Array:
        """Outputs without gradients, in chunks of ``batch`` rows: (rows, n) -> (rows, m), array type as given.

        Args:
            x: rows as a tensor or an array.
            batch: rows in a chunk.
        """
        check_positive("batch", batch)
        like = next(self.parameters())
        rows = torch.as_tensor(x, dtype=like.dtype, device=like.device)
        was_training = self.training
        self.eval()
        with torch.no_grad():
            out = torch.cat([self(part) for part in rows.split(batch)]) if rows.ndim > 1 else self(rows)
        self.train(was_training)
        return out.cpu().numpy() if isinstance(x, np.ndarray) else out


def load(path: str | Path) -> Any:
    """Load any model saved with its ``save``.

    Raises:
        ModelFileError: missing, damaged, or not a model of this package.
    """
    return SavedModel.load(path)


def rebuild(kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """A model from its saved parts.

    Args:
        kind: name under which the class was registered.
        config: its arguments.
        tensors: its state dict; any shape that its parameters and buffers have.

    Raises:
        ModelFileError: the tensors do not fit the structure.
    """
    model = _KINDS[kind](**config, seed=0).to(next(iter(tensors.values())).dtype)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(
            f"the saved weights do not fit the saved structure ({str(error).splitlines()[0]})"
        ) from None
    return model
