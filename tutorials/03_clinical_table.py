# %% [markdown]
# # A clinical table, end to end
#
# You have a table of patients, a column with the diagnosis, and you know scikit-learn. This page goes from the file to
# a model you can question: a hybrid quantum-classical network (KACQ-DCNN, arXiv 2410.07446), prediction sets that keep
# a promise you can check, SHAP values, edge functions, and a report. **Ordinary models stand beside it on the same
# rows, and the page says so when they do as well.**
#
# The data come with scikit-learn: 569 fine-needle aspirates of breast masses, each described by measurements of the
# cell nuclei in an image. We keep the ten means. A smaller table is easier to read, and quick to explain.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import qkan
from qkan import data
from qkan.analysis import explain_plots, plots
from qkan.analysis.calibration import reliability
from qkan.analysis.conformal import evaluate_sets, expected_coverage
from qkan.analysis.coverage import binomial_interval
from qkan.analysis.importance import global_importance
from qkan.analysis.metrics import classification_metrics
from qkan.errors import LeakageError
from qkan.experiments import tabular
from qkan.experiments.split import split_rows
from qkan.sklearn import KACQClassifier
from qkan.tabular import TabularModel

torch.set_num_threads(1)  # tables of this size lose more to threads than they gain
scratch = tempfile.TemporaryDirectory()  # everything this page writes; gone when Python ends
folder = Path(scratch.name)

# %% [markdown]
# ## Look at the file first
# Write the table as a CSV file, as yours would be, and let the toolkit look it over. `qkan data check file.csv --target
# diagnosis` does the same on the command line. It asks what is missing, repeated or constant, and whether a column
# looks filled in from the label. (The next tutorial shows a famous file where the answer is yes.)

# %%
whole = data.load("breast_cancer")
nuclei = whole.features.filter(like="mean ").rename(columns=lambda name: name.removeprefix("mean "))
nuclei.assign(diagnosis=whole.target).to_csv(folder / "nuclei.csv", index=False)
findings = data.check(folder / "nuclei.csv", "diagnosis")
for finding in findings:
    print(f"{finding.level:8}{finding.message.replace(str(folder), '…')}")
assert not [finding for finding in findings if finding.level in ("warning", "error")]

# %% [markdown]
# And look with your own eyes. Two columns already separate most patients, so expect every sensible model to do well.

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for name, color in (("benign", "#1f5fa8"), ("malignant", "#d9722e")):
    own = whole.features[whole.target == name]
    axes.scatter(own["mean radius"], own["mean concave points"], s=8, alpha=0.6, color=color, label=name)
axes.set(xlabel="radius", ylabel="concave points")
_ = axes.legend(frameon=False, fontsize=8)

# %% [markdown]
# ## Four parts, not two
# Train, validation, calibration, test. Each question needs rows that have not answered an earlier one: training rows
# fit the weights, validation rows say when to stop, calibration rows measure how wrong the model usually is, and test
# rows judge all of it. Patients with equal features stay in one part.

# %%
table = data.load_csv(folder / "nuclei.csv", "diagnosis")
X, y = table.features, table.target
split = split_rows(X, y, seed=0)
parts = split.parts()
print(pd.DataFrame({name: y.iloc[rows].value_counts() for name, rows in parts.items()}).to_string())
assert sum(map(len, parts.values())) == len(X) == len(set(np.concatenate(list(parts.values()))))

# %% [markdown]
# ## Train
# `TabularModel` is preprocessing and classifier in one. The classifier is the compact KACQ-DCNN: one channel reads the
# row with a bidirectional LSTM, the other sends it through three four-qubit circuits, and both have quantum edge
# functions around them. It is simulated exactly; no device is needed.

# %%
classifier = KACQClassifier(epochs=60, standardize=False, random_state=0)  # the preprocessing standardises
model = TabularModel(classifier, target="diagnosis")
model.fit(X.iloc[split.train], y.iloc[split.train], X.iloc[split.validation], y.iloc[split.validation])
network = model.pipeline[-1].network_
print(qkan.count(network), "| in the circuits:", network.quantum_parameters())
plots.history(classifier.history_)

# %% [markdown]
# ## Ordinary models, on the same rows
# A score means little alone. Logistic regression and a random forest get the training *and* the validation rows,
# because they need none to stop. The accuracy comes with its exact 95 % interval, for there are only 114 test rows.

# %%
fitted_on = np.concatenate([split.train, split.validation])
labels = np.searchsorted(model.classes, y.iloc[split.test])  # 0 benign, 1 malignant
probabilities = {"KACQ-DCNN": model.predict_proba(X.iloc[split.test])}
for name, plain in {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
    "random forest": RandomForestClassifier(n_estimators=300, random_state=0),
}.items():
    plain.fit(X.iloc[fitted_on], y.iloc[fitted_on])
    probabilities[name] = plain.predict_proba(X.iloc[split.test])
right = {name: own.argmax(1) == labels for name, own in probabilities.items()}
scores = pd.DataFrame({name: classification_metrics(labels, own) for name, own in probabilities.items()}).T
scores["95 %"] = ["[{:.3f}, {:.3f}]".format(*binomial_interval(own)) for own in right.values()]
print(scores[["accuracy", "95 %", "roc_auc", "log_loss", "brier"]].round(3).to_string())

# %% [markdown]
# Are the differences real? Both models judged the same patients, so look only at those on whom they disagree. If
# neither is better, each is right in half of these (McNemar's exact test).

# %%
for name in ("logistic regression", "random forest"):
    ours, theirs = right["KACQ-DCNN"] & ~right[name], right[name] & ~right["KACQ-DCNN"]
    p = binomtest(int(ours.sum()), int(ours.sum() + theirs.sum())).pvalue if (ours | theirs).any() else 1.0
    print(f"KACQ-DCNN right and {name} wrong: {ours.sum()} patients, the reverse: {theirs.sum()}; p = {p:.2f}")
    assert ours.sum() <= theirs.sum()

# %% [markdown]
# A handful of patients decide, and not one comparison favours the quantum network: there is no case for it here on
# accuracy. The rest of the page does not depend on which model wins. Everything works for any of the toolkit's
# classifiers.
#
# ## Are the probabilities honest?
# Of all masses given 0.7, seven in ten should be malignant. Points on the dotted line are right. The bars are exact
# intervals, and they are wide: a diagram like this can show gross faults only.

# %%
plots.reliability_curves(reliability(labels, probabilities["KACQ-DCNN"], label=1, bins=5))

# %% [markdown]
# ## Prediction sets
# A set holds every diagnosis that cannot be ruled out. {malignant} is an answer, {benign, malignant} says "either", and
# an empty set says "neither looks probable enough"; in the last two cases a human should look. Split-conformal sets
# promise: **the true diagnosis is in the set with at least the chosen probability**, whatever the model, if new
# patients are drawn like the calibration ones.
#
# The promise rests on rows that the model has not seen. Calibrating on training rows is the classic mistake, and an
# error here.

# %%
try:
    model.calibrate(X.iloc[split.train], y.iloc[split.train])
except LeakageError as error:
    print("refused:", error)
else:
    raise AssertionError("calibration on training rows must be refused")
_ = model.calibrate(X.iloc[split.calibration], y.iloc[split.calibration])

# %% [markdown]
# Two kinds: `lac` keeps the promise on average over patients, `mondrian` within each class. The second matters when
# missing a cancer is worse than missing its absence.

# %%
reports = [
    evaluate_sets(model.predict_set(probabilities["KACQ-DCNN"], level, method), labels, method, level)
    for level in (0.8, 0.9, 0.95)
    for method in ("lac", "mondrian")
]
shown = pd.DataFrame(
    {
        "method": one.method,
        "level": one.level,
        "coverage": f"{one.coverage:.2f} [{one.coverage_interval[0]:.2f}, {one.coverage_interval[1]:.2f}]",
        **{
            str(name): f"{share:.2f} [{low:.2f}, {high:.2f}]"
            for name, share, (low, high) in zip(model.classes, one.class_coverage, one.class_interval, strict=True)
        },
        "mean size": round(one.mean_size, 2),
        "empty": f"{one.empty:.0%}",
        "double": f"{one.double:.0%}",
    }
    for one in reports
)
print(shown.to_string(index=False))
plots.coverage(reports)

# %% [markdown]
# ## Is that calibrated?
# Coverage on 114 rows scatters, and so does the threshold, which rests on another 114. Theory says how much (Vovk
# 2012): the number of covered rows is beta-binomial. To see it, pool both parts and draw them anew 2,000 times. No
# model is trained again; only the threshold moves.

# %%
held_out = np.concatenate([split.calibration, split.test])
pooled, truth = model.predict_proba(X.iloc[held_out]), np.searchsorted(model.classes, y.iloc[held_out])
random, count = np.random.default_rng(0), len(split.calibration)
miss = 1 - pooled[np.arange(len(truth)), truth]  # the score: one minus the probability of the truth
rank = int(np.ceil((count + 1) * 0.9))
covered = []
for _ in range(2000):
    order = random.permutation(len(truth))
    threshold = np.sort(miss[order[:count]])[rank - 1]
    covered.append(float((miss[order[count:]] <= threshold).mean()))
low, high = expected_coverage(count, len(truth) - count, 0.9)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
rows = len(truth) - count
axes.hist(covered, bins=list((np.arange(rows + 2) - 0.5) / rows), color="#1f5fa8", alpha=0.7)
axes.axvspan(low, high, color="grey", alpha=0.2, label="95 % of draws, by theory")
axes.axvline(0.9, color="black", lw=1, ls=":", label="level")
axes.axvline(reports[2].coverage, color="#d9722e", label="the split above")
title = "The same model, other calibration rows"
axes.set(xlabel="coverage of 90 % sets on 114 rows", ylabel="draws", title=title, xlim=(0.74, 1))
axes.legend(frameon=False, fontsize=8)
print(f"mean coverage {np.mean(covered):.3f}; 95 % of draws should lie in [{low:.2f}, {high:.2f}]")
assert abs(np.mean(covered) - 0.9) < 0.01
assert np.mean((np.array(covered) >= low) & (np.array(covered) <= high)) > 0.93

# %% [markdown]
# The promise holds on average over draws. One study is one draw, and a single number such as "88 % covered" is no
# evidence against it.
#
# ## Why this patient?
# SHAP values split the model's output among the columns, starting from the average over a sample of training rows. They
# always add up to the output, to 1e-6, or the toolkit refuses to show them. With 2^10 subsets of columns the exact
# values are in reach, but sampling permutations is faster.

# %%
explained = model.explain(X.iloc[split.test[:40]], method="permutation")
print(f"{explained.method}: largest gap between output and sum {explained.additivity_gap:.1e}")
assert explained.additivity_gap < 1e-6
plots.beeswarm(explained, label=1, class_name="malignant", count=10)

# %% [markdown]
# Now one patient: the least certain of the forty. Read the sets first, then the contributions. A higher level gives
# larger sets, never smaller ones: here 90 % leaves no diagnosis, 95 % one, and 99 % rules out neither.

# %%
least = int(np.abs(probabilities["KACQ-DCNN"][:40, 1] - 0.5).argmin())
own = probabilities["KACQ-DCNN"][[least]]
print(f"probability of malignant: {own[0, 1]:.2f}; in truth {y.iloc[split.test[least]]}")
sets = {level: model.predict_set(own, level)[0] for level in (0.9, 0.95, 0.99)}
for level, chosen in sets.items():
    print(f"set at {level:.0%}:", model.classes[chosen].tolist())
assert (sets[0.9] <= sets[0.95]).all()
assert (sets[0.95] <= sets[0.99]).all()
explain_plots.waterfall(explained, least, 1, "malignant")

# %% [markdown]
# A warning that belongs to every such picture: radius, perimeter and area measure the same thing. SHAP shares the
# credit among them in a way that depends on the model, so a small bar does not mean "unimportant to the disease".

# %%
print(X[["radius", "perimeter", "area"]].corr().round(3).to_string())
assert X[["radius", "perimeter", "area"]].corr().to_numpy().min() > 0.98

# %% [markdown]
# ## A model that is its own explanation
# In KACQ-DCNN an LSTM stands before the edge functions, so no edge belongs to one column. A QKAN *without a hidden
# layer* is different: it is a sum of one function per column, each a one-qubit circuit. Its edge functions are the
# whole model.
#
# Such a network can be read, so this time let one call train one, do everything above and write the report. On the
# command line it is `qkan train --data nuclei.csv --target diagnosis --model qkan --hidden "" --out report`.

# %%
results = tabular.run(table, tabular.Settings(model="qkan", hidden=()), folder / "report", Console(quiet=True))
print(sorted(path.name for path in (folder / "report").iterdir()))
print(pd.DataFrame(results.metrics).loc[["accuracy", "roc_auc", "log_loss", "brier"]].astype(str).to_string())
figure, axes = plt.subplots(figsize=(9, 5.4), layout="constrained")
axes.imshow(plt.imread(folder / "report" / "overview.png"))
_ = axes.axis("off")

# %% [markdown]
# `report.html` is one page without links to anything: scores beside the baselines, coverage with intervals, SHAP, the
# network. `metrics.json` holds the same numbers with versions, seed, the file's hash and the command. `model/` is the
# model, without pickle. Load it and look at the edges.

# %%
additive = TabularModel.load(folder / "report" / "model")
np.testing.assert_allclose(additive.predict_proba(X.iloc[split.test]), results.probabilities)
found = additive.explain(X.iloc[split.test])  # exact and at once, in log-odds
leading = global_importance(found)["feature"].tolist()[:4]
figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True, layout="constrained")
for panel, (name, places, values) in zip(panels, additive.edge_curves(leading), strict=True):
    curve = values[:, 1] - values[:, 0]  # log-odds of malignant: one output minus the other
    own, place = X.iloc[split.test][name].to_numpy(), found.features.index(name)
    inside = (own >= places[0]) & (own <= places[-1])
    shap = found.values[inside, place, 1]
    shift = np.mean(np.interp(own[inside], places, curve) - shap)
    panel.plot(places, curve - shift, color="#1f5fa8")
    panel.scatter(own[inside], shap, s=8, color="#d9722e", zorder=3)
    panel.set_title(name, fontsize=9)
    assert np.abs(np.interp(own[inside], places, curve) - shift - shap).max() < 0.01
panels[0].set_ylabel("log-odds of malignant")
figure.suptitle("Lines: edge functions. Dots: SHAP values of the test rows. They are the same thing.", fontsize=10)
assert found.method == "additive"

# %% [markdown]
# A clinician can read these four curves, and object to one: that the risk falls between 0.09 and 0.14 of concave points
# rests on a few patients. No sampling is involved: for an additive model the SHAP value *is* the edge function, less
# its mean. The functions are periodic (they are circuits), so do not read them beyond the range of the data.
#
# ## What this page did not show
# * It used one split and one seed. For a comparison, repeat: see `qkan reproduce kacq-heart`, 54 models on common
#   folds.
# * Coverage is promised for patients like these. At another hospital it can fail: see `qkan reproduce heart-shift`.
# * Nothing here was run on a quantum device. `qkan submit report/model --backend aer` measures the additive model's
#   circuits once, for every patient it will ever see.
#
# ## Try it
# * Set `random_state=1` in the classifier. How far do accuracy, coverage and the SHAP ranking move?
# * Take all thirty columns. Which model gains most?
# * Calibrate on 20 rows only. What happens to the sets at level 0.95, and why is that the right answer? (Hint: a
#   `mondrian` threshold needs level / (1 - level) rows of its class.)
# * Replace the three circuits by a small classical network, `KACQClassifier(core="mlp")`, or by nothing, `core="none"`.
#   Do you see a difference that the intervals do not swallow?
#
# ## References
# * Jahin, Masud, Mridha, Aung, Dey, *KACQ-DCNN: uncertainty-aware interpretable Kolmogorov-Arnold classical-quantum
#   dual-channel neural network for heart disease detection*, arXiv 2410.07446.
# * Jiang, Huang, Chen, Goan, *Quantum variational activation functions empower Kolmogorov-Arnold networks*, arXiv
#   2509.14026.
# * Street, Wolberg, Mangasarian, *Nuclear feature extraction for breast tumor diagnosis* (1993), doi:10.1117/12.148698;
#   the data: doi:10.24432/C5DW2B.
# * Sadinle, Lei, Wasserman, *Least ambiguous set-valued classifiers with bounded error levels*, arXiv 1609.00451.
# * Vovk, *Conditional validity of inductive conformal predictors*, arXiv 1209.2673.
# * Lundberg, Lee, *A unified approach to interpreting model predictions*, arXiv 1705.07874.
