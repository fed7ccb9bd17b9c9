"""One training loop for every model: AdamW or L-BFGS, early stopping, a progress bar, a returned history."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qkan._progress import progress_bar
from qkan._random import generator
from qkan.errors import NonFiniteError, OptionError, ShapeError, check_choice, check_positive

#: AdamW is fused from so many parameters on; below, nothing is gained.
FUSED_PARAMETERS = 20_000

#: Rows (N, ...) and their labels (N, ...).
Pair = tuple[Tensor, Tensor]
#: (prediction, label) -> scalar.
Loss = Callable[[Tensor, Tensor], Tensor]

#: Learning rates that suit the default initialisation.
DEFAULT_LR = {"AdamW": 1e-2, "LBFGS": 1.0}


@dataclass
class _Data:
    """Training rows or a loader of batches, with optional validation and test rows."""

    train: Pair | None
    loader: Any
    validation: Pair | None
    test: Pair | None

    def batches(self, batch: int | None, seed: int | None) -> Iterator[Pair]:
        """Batches without end; each pass over the rows is a fresh permutation."""
        if self.train is None:
            while True:
                count = 0
                for x, y in self.loader:
                    count += 1
                    yield x, y
                if count == 0:
                    raise ShapeError("the data loader yields no batches.")
        x, y = self.train
        if batch is None or batch >= len(x):
            while True:
                yield x, y
        local = generator(seed)
        while True:
            order = torch.randperm(len(x), generator=local, device="cpu").to(x.device)
            for index in order.split(batch):
                yield x[index], y[index]


def fit(
    model: nn.Module,
    dataset: Mapping[str, Tensor] | Pair | Any,
    *,
    opt: str = "AdamW",
    steps: int = 100,
    lr: float | None = None,
    loss_fn: Loss | None = None,
    batch: int | None = None,
    validation: Pair | None = None,
    patience: int | None = None,
    lamb: float = 0.0,
    lamb_l1: float = 1.0,
    lamb_entropy: float = 2.0,
    lamb_gate: float = 0.0,
    weight_decay: float = 0.0,
    update_grid: bool = False,
    grid_update_num: int = 10,
    start_grid_update_step: int = -1,
    stop_grid_update_step: int = 50,
    log: int = 1,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train ``model`` in place.

    Args:
        model: maps x (B, n) to predictions for ``loss_fn``.
        dataset: a dict with ``train_input`` and ``train_label`` (and, if wanted, ``val_input``/``val_label`` and
            ``test_input``/``test_label``) as from ``create_dataset``; a pair (x, y); or a loader of (x, y) batches.
        opt: "AdamW" or "LBFGS" (strong-Wolfe line search, up to 20 iterations a step).
        steps: optimiser steps.
        lr: learning rate; default 0.01 for AdamW, 1 for L-BFGS.
        loss_fn: (prediction, label) -> scalar; mean squared error by default.
        batch: rows per AdamW step; ``None`` or -1 uses all rows. L-BFGS needs all rows or a loader.
        validation: (x, y) for early stopping; overrides ``val_input`` of the dataset.
        patience: stop after this many evaluations without a lower validation loss; ``None`` runs all steps. With
            validation data the parameters of the best evaluation are restored at the end either way.
        lamb: weight of the sparsity penalty lamb_l1 · L1 + lamb_entropy · entropy of the edges' mean magnitudes.
        lamb_l1: weight of L1 inside the penalty.
        lamb_entropy: weight of the row and column entropies inside the penalty.
        lamb_gate: weight of the entropy of a mixture's gates (:meth:`qkan.KAN.gate_entropy`), in units of the loss.
        weight_decay: decoupled weight decay of AdamW.
        update_grid: move the grids to the training inputs from time to time (``KAN.update_grid``; up to 10,000 of them,
            or the batch at hand of a loader). The optimiser starts anew after each update, since its averages and
            curvatures belong to the old splines.
        grid_update_num: updates take place before every (stop_grid_update_step // grid_update_num)-th step …
        start_grid_update_step: … that is not before this one (pykan counts steps from 0) …
        stop_grid_update_step: … and before this one.
        log: evaluate and record every ``log`` steps.
        seed: order of the batches.
        progress: show a progress bar.

    Returns:
        ``train_loss``, ``val_loss``, ``test_loss``, ``reg``: one number per evaluation (empty where there are no such
        data); ``step``: the steps of the evaluations; ``best_step``; ``stopped_early``. Test data are only looked at,
        never acted on. With ``update_grid`` also ``grid_updates``: pairs of the steps taken before an update and its
        report.

    Raises:
        OptionError, ShapeError: bad arguments.
        NonFiniteError: the loss became NaN or infinite; the model is put back to its best recorded state.
    """
    check_choice("opt", opt, DEFAULT_LR)
    check_positive("steps", steps)
    check_positive("log", log)
    if patience is not None:
        check_positive("patience", patience)
    batch = None if batch in (None, -1) else check_positive("batch", batch)
    if opt == "LBFGS" and batch is not None:
        raise OptionError("opt='LBFGS' works on all rows at once; leave batch out or use opt='AdamW'.")
    penalty = _penalty(model, lamb, lamb_l1, lamb_entropy, lamb_gate)
    data = _read(dataset, validation, model)
    if patience is not None and data.validation is None:
        raise OptionError("patience needs validation data: pass validation=(x, y) or a dataset with val_input.")
    loss_fn = loss_fn or mean_squared_error
    rate = DEFAULT_LR[opt] if lr is None else lr
    optimiser = _optimiser(model, opt, rate, weight_decay)
    grids = _GridUpdates(model, data, grid_update_num, start_grid_update_step, stop_grid_update_step, update_grid)
    run = _Run(model, data, loss_fn, patience, steps)
    model.train()
    with progress_bar(progress, "training", steps) as advance:
        for step, (x, y) in zip(range(1, steps + 1), data.batches(batch, seed), strict=False):
            if grids.due(step - 1):
                grids.update(step - 1, x)
                optimiser = _optimiser(model, opt, rate, weight_decay)
            loss, reg = _step(model, optimiser, *_to_model(model, (x, y)), loss_fn, penalty)
            run.observe(step, loss, reg, last=step == steps or step % log == 0)
            advance(1, run.status())
            if run.finished:
                break
    return {**run.finish(), **({"grid_updates": grids.reports} if update_grid else {})}


def _penalty(
    model: Any, lamb: float, lamb_l1: float, lamb_entropy: float, lamb_gate: float
) -> Callable[[Tensor], Tensor] | None:
    """What is added to the loss on the rows x, or ``None``."""
    for name, value, method in (("lamb", lamb, "regularization"), ("lamb_gate", lamb_gate, "gate_entropy")):
        if not value >= 0:
            raise OptionError(f"{name}={value!r} must be zero or a positive number.")
        if value > 0 and not hasattr(model, method):
            raise OptionError(f"{name}={value} needs a model with edges; {type(model).__name__} has no {method}().")
    if lamb_gate > 0:
        model.gate_entropy()  # says so where there are no gates
    if not (lamb > 0 or lamb_gate > 0):
        return None

    def penalty(x: Tensor) -> Tensor:
        total = lamb * model.regularization(x, lamb_l1, lamb_entropy) if lamb > 0 else x.new_zeros(())
        return total + lamb_gate * model.gate_entropy() if lamb_gate > 0 else total

    return penalty


def mean_squared_error(prediction: Tensor, label: Tensor) -> Tensor:
    """Mean squared error of equal shapes; torch would broadcast (N, 1) against (N,) to (N, N).

    Args:
        prediction: any shape.
        label: the same shape.

    Raises:
        ShapeError: the shapes differ.
    """
    if prediction.shape != label.shape:
        raise ShapeError(
            f"labels of shape {tuple(label.shape)} must have the shape of the predictions, {tuple(prediction.shape)}."
        )
    return nn.functional.mse_loss(prediction, label)


def some_inputs(dataset: Any, count: int = 500) -> Tensor | None:
    """Up to ``count`` training inputs of a dataset, (rows, n), evenly spaced; ``None`` for a loader."""
    if isinstance(dataset, Mapping):
        x = dataset["train_input"]
    elif isinstance(dataset, (tuple, list)):
        x = dataset[0]
    else:
        return None
    return spaced(torch.as_tensor(x).detach(), count).clone()


def spaced(rows: Any, count: int) -> Any:
    """Up to ``count`` of the rows, evenly spaced over all of them.

    Args:
        rows: a tensor or an array.
        count: at most.
    """
    return rows[:: max(1, -(-len(rows) // count))]


class _GridUpdates:
    """When grids move to the data, and what that did."""

    def __init__(self, model: nn.Module, data: _Data, count: int, start: int, stop: int, wanted: bool):
        self.model, self.data, self.start, self.stop, self.wanted = model, data, start, stop, wanted
        self.reports: list[tuple[int, Any]] = []
        if not isinstance(wanted, bool):
            raise OptionError(f"update_grid={wanted!r} must be True or False.")
        if wanted and not hasattr(model, "update_grid"):
            raise OptionError(f"update_grid needs a model with grids; {type(model).__name__} has no update_grid().")
        self.every = check_positive("stop_grid_update_step", stop) // check_positive("grid_update_num", count)
        if wanted and self.every == 0:
            raise OptionError(f"grid_update_num={count} updates do not fit before stop_grid_update_step={stop}.")

    def due(self, taken: int) -> bool:
        """Whether an update comes next after ``taken`` steps."""
        return self.wanted and self.start <= taken < self.stop and taken % self.every == 0

    def update(self, taken: int, batch: Tensor) -> None:
        rows = batch if self.data.train is None else some_inputs(self.data.train, 10_000)
        update: Any = self.model.update_grid
        self.reports.append((taken, update(rows)))


class _Run:
    """History, best state and the decision to stop."""

    def __init__(self, model: nn.Module, data: _Data, loss_fn: Loss, patience: int | None, steps: int):
        self.model, self.data, self.loss_fn, self.patience = model, data, loss_fn, patience
        self.steps = steps
        self.history: dict[str, Any] = {key: [] for key in ("step", "train_loss", "val_loss", "test_loss", "reg")}
        self.best_loss, self.best_step, self.best_state = math.inf, 0, _state(model)
        self.since_best, self.finished = 0, False
        self._recent: list[tuple[float, float]] = []

    def observe(self, step: int, loss: float, reg: float, last: bool) -> None:
        if not math.isfinite(loss):
            self.model.load_state_dict(self.best_state)
            raise NonFiniteError(
                f"the training loss became {loss} at step {step}; lower lr or standardise the inputs. "
                f"The model is back at step {self.best_step}."
            )
        self._recent.append((loss, reg))
        if not last:
            return
        train_loss, train_reg = (sum(column) / len(self._recent) for column in zip(*self._recent, strict=True))
        self._recent.clear()
        self.history["step"].append(step)
        self.history["train_loss"].append(train_loss)
        self.history["reg"].append(train_reg)
        if self.data.test is not None:
            self.history["test_loss"].append(evaluate(self.model, self.data.test, self.loss_fn))
        watched = train_loss
        if self.data.validation is not None:
            watched = evaluate(self.model, self.data.validation, self.loss_fn)
            self.history["val_loss"].append(watched)
        self._remember(step, watched)

    def _remember(self, step: int, watched: float) -> None:
        if watched < self.best_loss:
            self.best_loss, self.best_step, self.since_best = watched, step, 0
            if step < self.steps or self.data.validation is not None:  # otherwise nothing goes back to it
                self.best_state = _state(self.model)
        else:
            self.since_best += 1
            self.finished = self.patience is not None and self.since_best >= self.patience

    def status(self) -> str:
        latest = [f"{key} {self.history[key][-1]:.4g}" for key in ("train_loss", "val_loss") if self.history[key]]
        return "  ".join(latest)

    def finish(self) -> dict[str, Any]:
        if self.data.validation is not None:
            self.model.load_state_dict(self.best_state)
        return {**self.history, "best_step": self.best_step, "stopped_early": self.finished}


def evaluate(model: nn.Module, pair: Pair, loss_fn: Loss) -> float:
    """Loss on rows, without gradients and in evaluation mode.

    Args:
        model: any module.
        pair: rows x (B, n) and their labels.
        loss_fn: (prediction, label) -> scalar.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        x, y = _to_model(model, pair)
        loss = float(loss_fn(model(x), y))
    model.train(training)
    return loss


def _step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    loss_fn: Loss,
    penalty: Callable[[Tensor], Tensor] | None,
) -> tuple[float, float]:
    """One optimiser step; returns the loss without the penalty, and the penalty, before the step."""
    seen: list[tuple[float, float]] = []

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_fn(model(x), y)
        reg = penalty(x) if penalty is not None else None
        total = loss if reg is None else loss + reg
        total.backward()
        seen.append((float(loss.detach()), 0.0 if reg is None else float(reg.detach())))
        return total

    optimiser.step(closure)  # type: ignore[arg-type]  # torch annotates the closure as returning float
    return seen[0]


def _optimiser(model: nn.Module, opt: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr > 0):
        raise OptionError(f"lr={lr!r} must be a positive number.")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise OptionError("the model has no trainable parameters; set requires_grad on some.")
    if opt == "LBFGS":
        return torch.optim.LBFGS(parameters, lr=lr, history_size=10, line_search_fn="strong_wolfe")
    # The fused step costs a call's overhead, and spares many passes over the parameters where those are many.
    fused = sum(p.numel() for p in parameters) >= FUSED_PARAMETERS and all(p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused or None)


def _read(dataset: Any, validation: Pair | None, model: nn.Module) -> _Data:
    test, loader, train = None, None, None
    if isinstance(dataset, Mapping):
        if "train_input" not in dataset or "train_label" not in dataset:
            raise ShapeError(f"a dataset needs train_input and train_label; it has {', '.join(map(str, dataset))}.")
        train = (dataset["train_input"], dataset["train_label"])
        for part in ("test", "val"):
            if (f"{part}_input" in dataset) != (f"{part}_label" in dataset):
                raise ShapeError(f"a dataset needs {part}_input and {part}_label together.")
        if "test_input" in dataset:
            test = (dataset["test_input"], dataset["test_label"])
        if validation is None and "val_input" in dataset:
            validation = (dataset["val_input"], dataset["val_label"])
    elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        train = (dataset[0], dataset[1])
    elif hasattr(dataset, "__iter__"):
        loader = dataset
    else:
        raise ShapeError(f"{type(dataset).__name__} is not a dataset: pass a dict, a pair (x, y) or a loader.")
    pairs = [None if pair is None else _check_pair(pair, model) for pair in (train, validation, test)]
    return _Data(pairs[0], loader, pairs[1], pairs[2])


def _check_pair(pair: Pair, model: nn.Module) -> Pair:
    x, y = (torch.as_tensor(part) for part in pair)
    if len(x) != len(y):
        raise ShapeError(f"there are {len(x)} inputs but {len(y)} labels.")
    if len(x) == 0:
        raise ShapeError("there are no rows to train on.")
    for name, part in (("inputs", x), ("labels", y)):
        if part.is_floating_point() and not bool(torch.isfinite(part).all()):
            raise NonFiniteError(f"the {name} hold NaN or infinity; impute or remove those rows first.")
    return _to_model(model, (x, y))


def _to_model(model: nn.Module, pair: Pair) -> Pair:
    """Rows in the model's dtype and on its device; whole-number labels (classes) keep their type."""
    like = next(model.parameters())
    x, y = pair
    return x.to(like), (y.to(like) if y.is_floating_point() else y.to(like.device))


def _state(model: nn.Module) -> dict[str, Any]:
    state = model.state_dict()
    for name, value in state.items():
        state[name] = value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
    return state
