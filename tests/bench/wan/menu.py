"""What is compared: every row of the two stages, with how long it may take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.bench.wan.jobs import Method, Task
from tests.bench.wan.link import LinkSetting
from tests.bench.wan.product import Wishes, method_of
from workloads.spec.errors import UserError
from workloads.spec.facts import Calibration
from workloads.spec.launch import LinkFacts

Stage = Literal["speed", "loss"]

NO_LINK = Method(name="no link", kind="ddp")
DDP = Method(name="DDP", kind="ddp")
FP16 = Method(name="DDP, fp16", kind="fp16")
POWERSGD = Method(name="DDP, PowerSGD rank 4", kind="powersgd")
POST_LOCAL = Method(name="post-local SGD, H=20", kind="post-local", period=20)
TORCHFT = Method(name="torchft DiLoCo, H=20", kind="torchft", period=20)
TORCHFT_BUCKET = Method(name="torchft DiLoCo, H=20, one bucket", kind="torchft-bucket", period=20)
THIS = "this"
SYNC_ADAMW, SYNC_MUON = "synchronous, AdamW", "synchronous, Muon"
THIS_MUON, THIS_ADAMW, THIS_MUON_SLOW = "this, Muon", "this, AdamW", "this, Muon, set for the slow link"
TORCHFT_ADAMW = "torchft DiLoCo, AdamW"

FAST, SLOW, FAR = LinkSetting(100, 30), LinkSetting(20, 30), LinkSetting(100, 200)

# 10.07 M parameters. One thread a site: what counts is the ratio of computing to sending.
SPEED = Task(
    model={
        "model_type": "gpt2",
        "vocab_size": 512,
        "n_embd": 320,
        "n_layer": 8,
        "n_head": 5,
        "n_positions": 128,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
    batch=4,
    context=128,
    optimizer="adamw",
    lr=1e-3,
    warmup_steps=10,
    schedule="constant",
    steps=1000,
)

# 0.92 M parameters. Every method has as many steps, and no link to wait for.
LOSS = Task(
    model={
        "model_type": "llama",
        "vocab_size": 256,
        "hidden_size": 128,
        "intermediate_size": 408,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 96,
        "tie_word_embeddings": True,
    },
    batch=8,
    context=96,
    optimizer="adamw",
    lr=1.5e-3,
    warmup_steps=50,
    schedule="cosine",
    steps=1600,
    validation_windows=512,
)
_ADAMW: dict[str, object] = {"optimizer": "adamw", "lr": 1.5e-3}
_MUON: dict[str, object] = {"optimizer": "muon", "lr": 3e-3}

# what a rate needs: of this product's rounds the last does not count, as nothing is left that could hide it
_LEAST_ROUNDS = {"isthmus": 3}
# no bar is about the loss of post-local SGD; torchft's runs outlast the time that this product needs to DDP's loss
_MOST_ROUNDS = {"post-local": 3, "torchft": 8, "torchft-bucket": 8}
_POST_LOCAL_LEAD = 5  # its common steps, and the first after them, which is the one that is merged


@dataclass(frozen=True)
class Length:
    """How long the methods run on a link. Those in lock-step end with the time, the others with their last round."""

    lock_step_steps: int  # at most
    lock_step_s: float
    ddp_s: float  # of plain DDP, whose loss at the end is the one that others are timed to
    local_steps: int  # about; whole rounds, two at least
    look_steps: int | None  # between two looks at the validation loss

    def steps(self, method: Method) -> int:
        """Steps at most."""
        if method == DDP:  # it ends with its time
            return 10 * self.lock_step_steps
        if method.is_lock_step:
            return self.lock_step_steps
        rounds = max(_LEAST_ROUNDS.get(method.kind, 2), self.local_steps // method.period)
        rounds = min(_MOST_ROUNDS.get(method.kind, rounds), rounds)
        return rounds * method.period + (_POST_LOCAL_LEAD if method.kind == "post-local" else 0)

    def limit_s(self, method: Method) -> float:
        """Seconds after which a method in lock-step ends."""
        return self.ddp_s if method == DDP else self.lock_step_s


# DDP leaves the plateau on which every byte has its own frequency and no context after about 110 steps, 470 s at
# 100 Mbit/s: a target on the plateau would be met by chance.
_LONG = Length(lock_step_steps=60, lock_step_s=45, ddp_s=510, local_steps=208, look_steps=10)
_SHORT = Length(lock_step_steps=40, lock_step_s=45, ddp_s=60, local_steps=60, look_steps=None)


@dataclass(frozen=True)
class Item:
    """One row to be measured. `link` is the one that it runs over or, in the loss stage, the one that it is set for."""

    stage: Stage
    name: str
    method: Method
    task: Task
    link: LinkSetting | None
    length: Length | None = None
    on_demand: bool = False  # only measured if it is asked for by its name

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What its row replaces another one by."""
        return self.stage, str(self.link or "-"), self.name, self.method.setting

    @property
    def steps(self) -> int:
        """Steps at most."""
        return self.length.steps(self.method) if self.length else self.task.steps

    @property
    def limit_s(self) -> float | None:
        """Seconds after which it ends; None: with its steps."""
        return self.length.limit_s(self.method) if self.length and self.method.is_lock_step else None


def full(machine: Calibration, wishes: Wishes) -> tuple[Item, ...]:
    """All rows, for two such machines."""
    same = Method(name=f"torchft DiLoCo, H={wishes.steps}, one bucket", kind="torchft-bucket", period=wishes.steps)
    local = Method(name=TORCHFT_ADAMW, kind="torchft", period=wishes.steps)
    this = {link: _this(SPEED, link, machine, wishes) for link in (FAST, SLOW, FAR)}

    def speed(link: LinkSetting, length: Length, *methods: Method, on_demand: bool = False) -> Iterator[Item]:
        for method in methods:
            yield Item("speed", method.name, method, SPEED, link, length, on_demand)

    def loss(name: str, method: Method, inner: dict[str, object], link: LinkSetting | None = None) -> Item:
        on_demand = name in {THIS_ADAMW, THIS_MUON_SLOW}
        return Item("loss", name, method, LOSS.model_copy(update=inner), link, on_demand=on_demand)

    return (
        *speed(FAST, _LONG, NO_LINK, this[FAST], DDP, TORCHFT, TORCHFT_BUCKET, same, FP16, POWERSGD, POST_LOCAL),
        *speed(SLOW, _SHORT, NO_LINK, this[SLOW], DDP, TORCHFT_BUCKET, same),
        *speed(SLOW, _SHORT, FP16, POWERSGD, POST_LOCAL, TORCHFT, on_demand=True),
        *speed(FAR, _SHORT, NO_LINK, this[FAR], DDP, TORCHFT_BUCKET),
        *speed(FAR, _SHORT, same, FP16, POWERSGD, POST_LOCAL, TORCHFT, on_demand=True),
        loss(SYNC_ADAMW, DDP, _ADAMW),
        loss(SYNC_MUON, DDP, _MUON),
        # with the very setting that its speed is measured with
        loss(THIS_MUON, this[FAST], _MUON, FAST),
        loss(THIS_MUON_SLOW, this[SLOW], _MUON, SLOW),
        loss(THIS_ADAMW, this[FAST], _ADAMW, FAST),
        # with the outer settings of its own tests, which are the paper's
        loss(TORCHFT_ADAMW, local, _ADAMW),
    )


def quick(machine: Calibration, wishes: Wishes) -> tuple[Item, ...]:
    """A small model and few steps, to see that all parts work."""
    speed = SPEED.model_copy(update={"model": SPEED.model | {"n_embd": 64, "n_layer": 2, "n_head": 2}})
    muon = LOSS.model_copy(update={**_MUON, "steps": 20, "validation_windows": 16})
    short = wishes.model_copy(update={"steps": 5}) if wishes.steps == Wishes().steps else wishes
    torchft = Method(name="torchft DiLoCo, H=5", kind="torchft", period=5)
    length = Length(lock_step_steps=10, lock_step_s=20, ddp_s=3, local_steps=15, look_steps=5)
    this = _this(speed, FAST, machine, short)
    return (
        *(Item("speed", one.name, one, speed, FAST, length) for one in (NO_LINK, this, DDP, torchft)),
        Item("loss", SYNC_MUON, DDP, muon, None),
        Item("loss", THIS_MUON, this, muon, FAST),
    )


def select(
    items: Sequence[Item], stages: Sequence[str], methods: Sequence[str], links: Sequence[str]
) -> tuple[Item, ...]:
    """Rows of one of `stages` whose name and link are, or contain, one of the words; no words leave out what is on demand.

    Raises:
        UserError: there is none.
    """
    chosen = [item for item in items if item.stage in stages]
    if links:
        chosen = [item for item in chosen if any(word in str(item.link or "-") for word in links)]
    if methods:
        named = {item.name for item in chosen}
        chosen = [item for item in chosen if any(_means(word, item.name, named) for word in methods)]
    else:
        chosen = [item for item in chosen if not item.on_demand]
    if not chosen:
        known = sorted({f"{item.stage}: {item.name}" for item in items})
        raise UserError(f"no row fits --method {methods} and --link {links}; there are {'; '.join(known)}")
    return tuple(chosen)


def _means(word: str, name: str, named: set[str]) -> bool:
    """A word that is a name means that alone."""
    return word == name if word in named else word in name


def _this(task: Task, link: LinkSetting, machine: Calibration, wishes: Wishes) -> Method:
    return method_of(THIS, task, LinkFacts(rate_mbps=link.rate_mbps, rtt_ms=link.rtt_ms), machine, wishes)
