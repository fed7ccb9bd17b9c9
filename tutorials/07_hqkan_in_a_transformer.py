# %% [markdown]
# # HQKAN inside a transformer
#
# Two thirds of the parameters in a transformer's layers sit in their feed-forward blocks: one wide MLP per layer. An
# HQKAN replaces such a block by a narrow linear map, a small layer of one-qubit circuits, and a linear map back
# (arXiv 2509.14026). This page puts it into a small language model that predicts the next character, and asks three
# questions. How many parameters does it save? What does that cost in loss? **And would a plain MLP of the same small
# size have done as well?**
#
# The text ships with every Python: the reference topics behind `help("for")`. Your Python's version decides the exact
# numbers.

# %%
import math
import platform
from collections import Counter
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional

import qkan
from qkan.kernels import explain

# %% [markdown]
# ## The text, and a held-out part that is one
# The last tenth of the text is held out: a language model must be tested on what comes *after* its training text. But
# this text repeats itself. Whole paragraphs stand in several topics, so that parts of the "unseen" text were seen.
# Every paragraph is kept once only; what is left are common phrases.

# %%
raw = "\n\n".join(topics[name] for name in sorted(topics))
text = "\n\n".join(dict.fromkeys(paragraph.rstrip() for paragraph in raw.split("\n\n")))


def seen_before(text, width=40):
    """Share of the held-out places whose next `width` characters stand in the training part, too."""
    cut = int(0.9 * len(text))
    windows = {text[place : place + width] for place in range(cut - width)}
    places = range(cut, len(text) - width)
    return sum(text[place : place + width] in windows for place in places) / len(places)


print(f"Python {platform.python_version()}: {len(raw):,} characters, {len(text):,} without repeated paragraphs")
print(
    f"held-out text that was seen before: {seen_before(raw):.1%}, without repeated paragraphs {seen_before(text):.1%}"
)
assert seen_before(text) < seen_before(raw)

common = {character for character, count in Counter(text).items() if count >= 100}
text = "".join(character if character in common else "?" for character in text)
alphabet = sorted(set(text))
place_of = {character: place for place, character in enumerate(alphabet)}
codes = torch.tensor([place_of[character] for character in text])
cut = int(0.9 * len(codes))
train, held = codes[:cut], codes[cut:]
print(f"{len(alphabet)} different characters; {len(train):,} to train on, {len(held):,} held out")

# %% [markdown]
# ## What no network is needed for
# The loss is the mean of -ln p(next character). Perplexity is **e^loss**: among how many equally likely characters the
# model is undecided. Count tables set the scale. A unigram table knows how common a character is, a bigram table knows
# the character before, a trigram table the two before.

# %%
V = len(alphabet)


def contexts(codes, order, lag):
    """`order` characters, the last of them `lag` places before the next one, and that next one."""
    first = order + lag - 1
    return (*(codes[first - lag - k : len(codes) - lag - k] for k in reversed(range(order))), codes[first:])


def table_loss(order, lag=1, weight=5.0):
    """Held-out loss of a count table. Where counts are few it leans on the table with a shorter context."""
    chances = np.full(V, 1 / V)
    for length in range(order + 1):
        found = np.zeros((V,) * (length + 1))
        np.add.at(found, contexts(train.numpy(), length, lag), 1)
        chances = (found + weight * chances) / (found.sum(-1, keepdims=True) + weight)
    return -np.log(chances[contexts(held.numpy(), order, lag)]).mean()


tables = {name: table_loss(order) for order, name in enumerate(("unigram", "bigram", "trigram"))}
for name, loss in tables.items():
    print(f"{name:8} loss {loss:.3f}, perplexity {math.exp(loss):.2f}")
assert tables["trigram"] < tables["bigram"] < tables["unigram"] < math.log(V)

# %% [markdown]
# ## Two mistakes that flatter
# Both are easy to make and have been made in public.
#
# * **The target must be shifted by one.** Some training loops cut a window of T characters and take the *next window*
#   as the target. Then every target is T places ahead. The picture shows what one character still says about another so
#   far ahead: little. Such a model learns how common characters are, and any two architectures look alike.
# * **Perplexity is e^loss**, because the loss counts in natural logarithms. 2^loss is a smaller number, and wrong.

# %%
lags = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
by_lag = [table_loss(1, lag) for lag in lags]
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(lags, by_lag, "o-", label="table that sees one character")
axes.axhline(tables["unigram"], color="black", ls="--", lw=1, label="table that sees nothing")
axes.set(
    xlabel="places between that character and the target",
    ylabel="held-out loss",
    title="Why the target is the next one",
)
axes.legend()
print(f"a bigram's perplexity is {math.exp(tables['bigram']):.1f}; 2^loss would claim {2 ** tables['bigram']:.1f}")
learned = (tables["unigram"] - by_lag[-1]) / (tables["unigram"] - by_lag[0])
print(f"32 places ahead {learned:.0%} of what the last character says is left")
assert learned < 0.25

# %% [markdown]
# ## The transformer
# Plain PyTorch: embeddings, one causal layer with four heads, and a linear map to the alphabet. In the layer, `linear1`
# and `linear2` are the feed-forward block, four times as wide as the rest.

# %%
WIDTH, CONTEXT, BATCH, STEPS = 64, 32, 16, 300


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.characters, self.positions = nn.Embedding(V, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, V)

    def forward(self, x):
        """(batch, time) codes -> (batch, time, V) scores of the next character."""
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.characters(x) + self.positions(torch.arange(length))
        return self.head(self.norm(self.blocks(hidden, mask=mask, is_causal=True)))


class Nothing(nn.Module):
    """In the place of a feed-forward block: adds zero."""

    def forward(self, x):
        return torch.zeros_like(x)


# %% [markdown]
# ## One call replaces the block
# `qkan.replace_mlp` finds feed-forward blocks in a model and swaps them. The HQKAN here has 8 latent values and one
# repetition of the circuit on each of its 8 x 8 edges. Two more models keep us honest:
#
# * *narrow MLP*: a plain MLP with as many parameters as the HQKAN block;
# * *no block*: attention only. What it reaches is no merit of any block.

# %%


def model_with(block, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LanguageModel()
        factories = {
            "HQKAN": lambda n, m: qkan.HQKAN(n, m, latent=8, reps=1, seed=seed),
            "narrow MLP": lambda n, m: nn.Sequential(nn.Linear(n, 11), nn.GELU(), nn.Linear(11, m)),
            "no block": lambda n, m: Nothing(),
        }
        report = qkan.replace_mlp(model, factories[block]) if block in factories else None
    return model, report


NAMES = ("MLP", "HQKAN", "narrow MLP", "no block")
models = {name: model_with(name, seed=0)[0] for name in NAMES}
sizes = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in models.items()}
print(model_with("HQKAN", 0)[1])
for name in NAMES:
    print(f"{name:11} {sizes[name]:,} parameters, {sizes[name] - sizes['no block']:,} of them in the block")
print(explain(models["HQKAN"], torch.zeros(BATCH, CONTEXT, WIDTH)))
assert abs(sizes["HQKAN"] - sizes["narrow MLP"]) < 50

# %% [markdown]
# A causal model must not look ahead. Change the last character: no earlier output may move.

# %%
window = train[:CONTEXT][None].repeat(2, 1)
window[1, -1] = (window[1, -1] + 1) % V
with torch.no_grad():
    for model in models.values():
        first, second = model(window)
        assert torch.allclose(first[:-1], second[:-1], atol=1e-5)
        assert not torch.allclose(first[-1], second[-1], atol=1e-3)

# %% [markdown]
# ## The same budget for all
# Same text, same batches in the same order, same steps, same learning rate, two seeds. `windows[:, :-1]` goes in, and
# `windows[:, 1:]`, one place on, is the target. The held-out part is looked at once, at the end.

# %%


def loss_of(model, windows):
    return functional.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def trained(model, seed):
    """Losses of the training steps."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    draw, losses = torch.Generator().manual_seed(seed), []
    for _ in range(STEPS):
        starts = torch.randint(len(train) - CONTEXT, (BATCH,), generator=draw)
        loss = loss_of(model, train[starts[:, None] + torch.arange(CONTEXT + 1)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


held_windows = held[: len(held) - (len(held) - 1) % CONTEXT].unfold(0, CONTEXT + 1, CONTEXT)
curves = {}
results: dict[str, list[float]] = {name: [] for name in NAMES}
for seed in (0, 1):
    for name in NAMES:
        model = model_with(name, seed)[0]
        curves[name, seed] = trained(model, seed)
        with torch.no_grad():
            results[name].append(loss_of(model.eval(), held_windows).item())
        models[name] = model
print(f"{'block':11}{'parameters':>11}{'held-out loss, by seed':>25}{'perplexity':>12}")
for name, losses in results.items():
    by_seed = " ".join(f"{loss:.3f}" for loss in losses)
    print(f"{name:11}{sizes[name]:>11,}{by_seed:>25}{math.exp(np.mean(losses)):>12.2f}")
assert all(max(losses) < tables["bigram"] for losses in results.values()), (
    "every model looks back further than one place"
)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
colours = dict(zip(NAMES, ("tab:blue", "tab:orange", "tab:green", "tab:gray"), strict=True))
for name in NAMES:
    smooth = np.convolve(np.mean([curves[name, seed] for seed in (0, 1)], 0), np.full(25, 1 / 25), "valid")
    axes[0].plot(np.arange(25, STEPS + 1), smooth, color=colours[name], label=name)
    label = f"{name}\n{sizes[name] - sizes['no block']:,}"
    axes[1].scatter([label] * 2, results[name], color=colours[name])
for name, loss in list(tables.items())[1:]:
    axes[1].axhline(loss, color="black", ls=":", lw=1)
    axes[1].text(3.4, loss, f"{name} table", va="bottom", ha="right", fontsize=8)
axes[0].set(xlabel="step", ylabel="training loss", ylim=(None, 3.2), title="Mean of two seeds, 25 steps smoothed")
axes[1].set(xlabel="block and its parameters", ylabel="held-out loss", title="Every dot is a run", xlim=(-0.5, 3.5))
axes[0].legend()

# %% [markdown]
# ## What the models write
# Drawn character by character, at temperature 0.8, from the same start.

# %%


def written(model, start, length=160, temperature=0.8, seed=0):
    codes, draw = [place_of[character] for character in start], torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(length):
            scores = model(torch.tensor([codes[-CONTEXT:]]))[0, -1]
            codes.append(int(torch.multinomial((scores / temperature).softmax(-1), 1, generator=draw)))
    return "".join(alphabet[code] for code in codes)


for name in ("MLP", "HQKAN"):
    print(f"--- {name}\n{written(models[name], 'The object ')}\n")

# %% [markdown]
# ## What to make of it
# Read it from the table, not from the samples.

# %%
mean = {name: np.mean(losses) for name, losses in results.items()}
spread = max(abs(first - second) for first, second in results.values())
block = {name: sizes[name] - sizes["no block"] for name in NAMES}
print(f"the HQKAN block has {block['MLP'] / block['HQKAN']:.0f} times fewer parameters than the MLP;")
print(f"it costs {mean['HQKAN'] - mean['MLP']:.3f} in loss;")
print(f"it is {mean['no block'] - mean['HQKAN']:.3f} better than no block;")
print(f"it is {abs(mean['HQKAN'] - mean['narrow MLP']):.3f} from the narrow MLP; seeds differ by up to {spread:.3f};")
print(f"the trigram table is {min(mean.values()) - tables['trigram']:.3f} below the best network.")
assert block["MLP"] > 20 * block["HQKAN"]
assert mean["MLP"] < mean["HQKAN"] < mean["no block"]
assert abs(mean["HQKAN"] - mean["narrow MLP"]) < 0.5 * (mean["HQKAN"] - mean["MLP"])
assert tables["trigram"] < min(mean.values())

# %% [markdown]
# * The HQKAN does what it promises: twenty times fewer parameters in the block, half of the model's, and the model
#   still learns. It is not free. The wide MLP is better at the same number of steps.
# * **Its saving is that of a narrow block, not of a quantum one.** An MLP of the same size does as well, within the
#   spread of two seeds. A comparison without this control would have told another story.
# * All four are small models after a few seconds of training. A table of three characters beats them. Nothing here says
#   what happens in a large model that is trained for long.
#
# ## Try it
# * Ten times the steps, on your own time. Does the trigram table still win? Does the order of the four change?
# * `qkan.JHCGNet(n, m, latent=8, core="linear")` has no circuit at all between its linear maps. What does it reach? And
#   `core="bspline"`?
# * Vary `latent` (4, 8, 16) and `reps` (1, 3). Which of the two is the better use of a parameter?
# * Train with the wrong target, `CONTEXT` places ahead. To which line of the second picture does the loss go?
# * Two seeds are few. Run six, and put an interval on every difference.
#
# ## References
# * Jiang, Huang, Chen, Goan, *Quantum Variational Activation Functions Empower Kolmogorov-Arnold Networks*,
#   arXiv 2509.14026: HQKAN, and its use in GPT-2.
# * Hsu et al., arXiv 2512.05049: the encoder, core and decoder of which HQKAN is one case.
# * Vaswani et al., *Attention Is All You Need*, arXiv 1706.03762: the transformer.
# * Shannon, *Prediction and Entropy of Printed English*, Bell System Technical Journal 30, 50 (1951),
#   doi 10.1002/j.1538-7305.1951.tb01366.x: what the characters before say about the next one.
# * Jelinek et al., *Perplexity: a measure of the difficulty of speech recognition tasks*, J. Acoust. Soc. Am. 62, S63
#   (1977), doi 10.1121/1.2016299.
