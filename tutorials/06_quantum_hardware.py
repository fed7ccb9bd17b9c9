# %% [markdown]
# # From simulator to quantum hardware
#
# A QKAN trains on a simulator, because training asks for gradients many times. Using it is another matter: the trained
# network can be measured on a quantum device **once**, and serves every input from then on. This page takes a small
# network all the way: what it will cost, an exact and a noisy backend, standard errors, a crash in the middle, two
# corrections for noise, and the four lines that change for IBM's hardware. Nothing here needs an account or a network.
#
# It needs the extra `ibm` (`pip install -c constraints.txt '.[ibm]'`) for the calibration data of a real device,
# which imitates that device here.

# %%
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from click import unstyle
from typer.testing import CliRunner

import qkan
from qkan.circuits import backends, deploy, devices
from qkan.circuits.backends import Capabilities, Job
from qkan.circuits.ledger import read
from qkan.cli import app

workspace = tempfile.TemporaryDirectory(prefix="qkan-")  # all that this page writes
folder = Path(workspace.name)

# %% [markdown]
# ## A trained network
# Two inputs, three hidden nodes, one output: 9 edges, each of them one qubit.

# %%
data = qkan.create_dataset(lambda x: torch.sin(2 * x[:, :1]) + x[:, 1:] ** 2 - 0.3, n_var=2, train_num=300, seed=0)
model = qkan.QKAN([2, 3, 1], reps=3, seed=0)
history = model.fit(data, opt="LBFGS", steps=8, progress=False)
x = data["test_input"][:200]
print(f"test MSE {history['test_loss'][-1]:.1e} | {qkan.count(model)}")
assert history["test_loss"][-1] < 1e-3

# %% [markdown]
# ## The plan, before anything is spent
# An edge with three repetitions is a trigonometric polynomial of degree 3. Seven values fix it, so it is measured at
# seven *nodes*, whatever the inputs will be. `dry_run=True` only counts. Nothing is sent and nothing is written.

# %%
noisy = backends.get("aer", noise="FakeSherbrooke")  # Qiskit Aer with the published errors of a 127-qubit device
dry = deploy(model, noisy, shots=4096, rows=x, dry_run=True)
plan = dry.plan()
print(plan)
assert plan.circuits == 9 * 7
assert plan.row_by_row == 9 * len(x)

# %% [markdown]
# Devices are billed by the time they are busy. After every shot a device rests; this pause alone, published with the
# calibration, sets a lower limit for the time.

# %%
pause = devices.fake("FakeSherbrooke").default_rep_delay
counts = np.array([1, 10, 100, 1000, 10_000])
by_nodes = np.full(len(counts), plan.circuits) * 4096 * pause
by_rows = 9 * counts * 4096 * pause
print(
    f"a pause of {pause * 1e6:.0f} µs: at least {by_nodes[0]:.0f} s by nodes, {9 * len(x) * 4096 * pause:.0f} s by rows"
)
figure, axes = plt.subplots(figsize=(6, 3))
axes.loglog(counts, by_rows, "o-", label="every circuit on every row")
axes.loglog(counts, by_nodes, "s-", label="nodes, once")
axes.set(xlabel="input rows asked for", ylabel="device time, s", title="Least device time at 4,096 shots")
axes.legend()
assert plan.total_shots == 63 * 4096

# %% [markdown]
# ## An exact backend first
# The simulator of the toolkit has no shots and no noise. The deployed network must be the trained one, to the rounding
# of float32. Test your own model so before you pay for it.

# %%
exact = deploy(model, "torch", rows=x, progress=False)
print(exact.report())
rms = exact.report().output_rms
assert rms is not None
assert rms < 1e-5

# %% [markdown]
# ## Shots, and the error they leave
# A measurement gives one bit, 0 or 1. ⟨Z⟩ is an average over shots, so it has a standard error near 1/√shots.
# `return_std=True` carries these through all layers to the output. Are they right? Forty deployments with other seeds
# must fall within two standard errors about 95 % of the time.

# %%
aer = backends.get("aer")  # shots, but no noise
with torch.no_grad():
    trained = model(x)
inside = []
for seed in range(40):
    run = deploy(model, aer, shots=4096, seed=seed, progress=False)
    mean, error = run.model(x, return_std=True)
    inside.append(float(((mean - trained).abs() <= 2 * error).float().mean()))
print(f"within two standard errors: {np.mean(inside):.1%}")
assert 0.9 < np.mean(inside) < 0.99

slice_x = torch.stack([torch.linspace(-1, 1, 100), torch.full((100,), 0.5)], 1)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for panel, shots in zip(axes, (256, 4096), strict=True):
    mean, error = deploy(model, aer, shots=shots, seed=0, progress=False).model(slice_x, return_std=True)
    mean, error = mean[:, 0].detach(), error[:, 0]
    panel.fill_between(slice_x[:, 0], mean - 2 * error, mean + 2 * error, alpha=0.3, label="± 2 standard errors")
    panel.plot(slice_x[:, 0], mean, label="measured")
    panel.plot(slice_x[:, 0], model(slice_x)[:, 0].detach(), "k--", lw=1, label="trained")
    panel.set(xlabel="first input", title=f"{shots:,} shots")
axes[0].set_ylabel("output")
axes[0].legend()

# %% [markdown]
# The deviation is a smooth curve, not a cloud of dots: what is measured are 63 numbers, and all outputs share them. So
# asking twice gives the same answer, and more rows do not average the error away. Only more shots do.
#
# ## A noisy device
# Gates go slightly wrong, and bits are misread. `FakeSherbrooke` does so as a real device did when it was calibrated.
# The standard error speaks of shots only; **it knows nothing of this bias.** With shots taken away (`shots=None`, exact
# averages over the noise) only the bias is left.

# %%
target = devices.fake("FakeSherbrooke").target
ranking = devices.rank_qubits(target)
good, bad = ranking[0], max(ranking[:100], key=lambda qubit: target["sx"][(qubit,)].error)
for qubit in (good, bad):
    gate, readout = target["sx"][(qubit,)].error, target["measure"][(qubit,)].error
    backend = backends.get("aer", noise="FakeSherbrooke", layout=[qubit])
    report = deploy(model, backend, rows=x, progress=False).report()
    print(f"qubit {qubit}: gate {gate:.1e} and readout {readout:.1e} wrong; outputs off by {report.output_rms:.3f}")

# %% [markdown]
# Left to itself the toolkit takes the best qubits by these two numbers. A device has bad days, so the rest of this page
# takes the bad qubit.
#
# ## Two corrections
# * *Readout:* two calibration circuits, one that should always read 0 and one that should always read 1, tell how often
#   bits are misread. The average is corrected by it.
# * *Extrapolation to zero noise:* every gate G becomes G G⁻¹ G, the same operation with three times the noise. A
#   straight line through both results is read off at zero.

# %%
worst = backends.get("aer", noise="FakeSherbrooke", layout=[bad])
choices: dict[str, dict[str, Any]] = {
    "none": {},
    "readout": {"readout_mitigation": True},
    "readout and folding": {"readout_mitigation": True, "fold_factors": (1, 3)},
}


def block_rms(run):
    """Of measured minus exact expectations, over all circuits."""
    blocks = run.report().blocks
    return float(np.sqrt(np.average([b.rms**2 for b in blocks], weights=[b.circuits for b in blocks])))


errors = {}
print(f"{'correction':22}{'executions':>11}{'bias alone':>12}{'300 shots':>11}{'100,000 shots':>15}")
for name, options in choices.items():
    runs = [deploy(model, worst, shots=n, seed=1, progress=False, **options) for n in (None, 300, 100_000)]
    errors[name] = [block_rms(run) for run in runs]
    none, few, many = errors[name]
    print(f"{name:22}{runs[1].plan().executions:>11}{none:>12.4f}{few:>11.4f}{many:>15.4f}")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for place, (name, values) in enumerate(errors.items()):
    axes.bar(np.arange(3) + 0.27 * (place - 1), values, 0.25, label=name)
axes.set_xticks(range(3), ["no shot noise", "300 shots", "100,000 shots"])
axes.set(ylabel="rms error of ⟨Z⟩", yscale="log", title=f"What the corrections are worth (qubit {bad})")
figure.legend(title="correction", loc="outside right upper")
assert errors["readout"][0] < 0.8 * errors["none"][0]
assert errors["readout and folding"][0] < 0.3 * errors["readout"][0]
assert errors["readout and folding"][1] > errors["none"][1], "with few shots extrapolation costs more than it brings"

# %% [markdown]
# Both corrections take the bias down. Neither is free. Extrapolation runs every circuit twice and multiplies the noise
# of the shots by √(1.5² + 0.5²) ≈ 1.6. With 300 shots the result is *worse* than without any correction; with 100,000
# it is far better. Correct a bias only where it is larger than your shot noise.
#
# ## The crash
# Jobs on a device wait for hours, and laptops sleep. The ledger, one SQLite file, writes every batch down *before* it
# is sent. Here is a service far away that keeps its jobs whatever happens to us, and counts what it accepts. After the
# thirteenth job our process "dies", at the worst moment: the job is accepted, but we have not heard of it.


# %%
class PowerCut(BaseException):
    """Nothing catches it, as nothing catches the end of a process."""


class CloudJob(Job):
    def __init__(self, identifier, cloud):
        self.id, self.cloud = identifier, cloud

    def result(self):
        return self.cloud.jobs[self.id]


class Cloud(backends.Backend):
    """A device behind a network. Its jobs live on when the client dies, and every accepted circuit is paid for."""

    name = "cloud"
    capabilities = Capabilities(exact=False, shots=True, wires=127, noise=True, network=True)

    def __init__(self, shots=4096):
        super().__init__(shots)
        self.machine, self.jobs, self.cut_after = noisy, {}, None

    def submit(self, task):
        self.jobs[task.tag] = self.machine.execute(task)
        if len(self.jobs) == self.cut_after:
            raise PowerCut
        return CloudJob(task.tag, self)

    @property
    def paid(self):
        return sum(len(result.values) for result in self.jobs.values())  # circuits

    def attach(self, identifier, task):
        return CloudJob(identifier, self)

    def find(self, task):  # by the tag that travels with every job
        return CloudJob(task.tag, self) if task.tag in self.jobs else None


ledger = folder / "run.sqlite"
settings: dict[str, Any] = {"shots": 4096, "ledger": ledger, "batch_size": 3, "seed": 5, "progress": False}
cloud = Cloud()
cloud.cut_after = 13
try:
    deploy(model, cloud, **settings)
except PowerCut:
    print("power cut;", cloud.paid, "of", plan.circuits, "circuits are paid for")
statuses = [record.status for record in read(ledger)[1]]
print({status: statuses.count(status) for status in dict.fromkeys(statuses)})
assert cloud.paid == 39
assert statuses.count("submitting") == 1, "one batch may or may not have arrived"

# %% [markdown]
# The same call goes on. Batches that are done are read from the ledger. Submitted ones are attached to by their job's
# id. The batch in doubt is looked for on the service by its tag, and found.

# %%
before, cloud.cut_after = cloud.paid, None
resumed = deploy(model, cloud, **settings)
print(f"paid before the crash {before}, after it {cloud.paid - before}, in all {cloud.paid} of {plan.circuits} planned")
assert cloud.paid == plan.circuits == 63

again = deploy(model, cloud, **settings)
print("asked a third time:", cloud.paid - 63, "more circuits")
assert cloud.paid == 63
undisturbed = deploy(model, Cloud(), **{**settings, "ledger": folder / "other.sqlite"})
assert torch.equal(resumed.model(x), undisturbed.model(x)), "the crash changed no number"

# %% [markdown]
# The results are, to the last bit, those of a run that was never disturbed: each batch's seed follows from its name.
#
# ## The ledger
# `qkan jobs run.sqlite` shows what was paid and what is pending, also while another process writes. This cell calls the
# same command from Python.

# %%
shown = CliRunner().invoke(app, ["jobs", str(ledger)])
lines = unstyle(shown.output).splitlines()
print("\n".join([*lines[:8], "…", lines[-1]]))
assert shown.exit_code == 0
assert "done 21 batches, 63 circuits" in shown.output

# %% [markdown]
# ## The four lines that change for IBM's hardware
# ```python
# from qiskit_ibm_runtime import QiskitRuntimeService
# QiskitRuntimeService.save_account(token="…", instance="…")  # once; IBM's package keeps it
# device = backends.get("ibm", backend="ibm_torino", layout=[4, 5])  # a device of your account, and qubits of it
# run = deploy(model, device, shots=4096, ledger="run.sqlite", readout_mitigation=True)
# ```
# The rest of this page stays as it is. A backend that costs money does not run without a ledger. `layout` is for
# `readout_mitigation`: a run that goes on tomorrow, after a new calibration, stays on the qubits it was corrected for.
# On the command line, `qkan submit MODEL --backend ibm --option backend=ibm_torino …` states the plan, and asks before
# it sends anything.
#
# IBM's primitives also run locally, on a simulated device. That is the last rehearsal: the same code, without account
# and cost. Several circuits are packed side by side on the device's qubits (`pack`), which divides the bill.

# %%
rehearsal = backends.get("ibm", backend="FakeManilaV2")
run = deploy(model, rehearsal, shots=4096, pack=3, seed=0, rows=x, progress=False)
print(run.plan())
print(run.report())
assert run.plan().executions == 21  # 63 circuits, three in one
rms = run.report().output_rms
assert rms is not None
assert rms < 0.3
workspace.cleanup()

# %% [markdown]
# ## Try it
# * Give `deploy` a tenth of the rows, or two rows. When does it measure rows instead of nodes?
# * Let the power cut come after job 1 and after job 21. What do the statuses say, and what is paid in the end?
# * Call `run.plot()` on the run with the bad qubit. What does its noise do to large and to small values of ⟨Z⟩?
# * Ask for `fold_factors=(1, 3, 5)`. What happens to the bias, and what to the noise of the shots?
# * Train with the amplitude readout (`QKAN(..., readout="amplitude")`). Is the deployed model more or less sensitive?
#
# ## References
# * Jiang, Huang, Chen, Goan, *Quantum Variational Activation Functions Empower Kolmogorov-Arnold Networks*,
#   arXiv 2509.14026.
# * Schreiber, Eisert, Meyer, *Classical surrogates for quantum learning models*, Phys. Rev. Lett. 131, 100803 (2023),
#   doi 10.1103/PhysRevLett.131.100803: a trained re-uploading circuit replaced by its measured Fourier series.
# * Bravyi et al., *Mitigating measurement errors in multiqubit experiments*, Phys. Rev. A 103, 042605 (2021),
#   doi 10.1103/PhysRevA.103.042605: readout correction.
# * Temme, Bravyi, Gambetta, *Error mitigation for short-depth quantum circuits*, Phys. Rev. Lett. 119, 180509 (2017),
#   doi 10.1103/PhysRevLett.119.180509: extrapolation to zero noise.
# * Giurgica-Tiron et al., *Digital zero noise extrapolation for quantum error mitigation*, arXiv 2005.10921: folding.
