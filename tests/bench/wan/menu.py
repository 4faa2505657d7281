"""What is compared, and how long each may take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tests.bench.wan.jobs import Method, Task
from tests.bench.wan.link import LinkSetting

NO_LINK = Method(name="no link (DDP on loopback)", kind="ddp")
# 32 / 4.0625 bits a value: from 52 steps a round on, it is 400 times less than DDP with room for headers
THIS_LONG = Method(name="this, H=52 int4", kind="isthmus", period=52, overlap_steps=10, bits=4)
THIS_SHORT = Method(name="this, H=20 int8", kind="isthmus", period=20, overlap_steps=10, bits=8)
DDP = Method(name="DDP", kind="ddp")
FP16 = Method(name="DDP, fp16", kind="fp16")
POWERSGD = Method(name="DDP, PowerSGD rank 4", kind="powersgd")
POST_LOCAL = Method(name="post-local SGD, H=20", kind="post-local", period=20)
TORCHFT = Method(name="torchft DiLoCo, H=20", kind="torchft", period=20)
TORCHFT_BUCKET = Method(name="torchft DiLoCo, H=20, one bucket", kind="torchft-bucket", period=20)

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


_LEAST_ROUNDS = 3
_POST_LOCAL_LEAD = 5  # its common steps, and the first after them, which is the one that is merged


@dataclass(frozen=True)
class Length:
    """How long the methods run on a link. Those in lock-step end with the time, the others with their last round."""

    lock_step_steps: int  # at most
    lock_step_s: float
    ddp_s: float  # of plain DDP, whose loss at the end is the one that others are timed to
    local_steps: int  # about; whole rounds, three at least
    look_steps: int | None  # between two looks at the validation loss

    def steps(self, method: Method) -> int:
        """Steps at most."""
        if method.is_lock_step:
            return self.lock_step_steps
        rounds = max(_LEAST_ROUNDS, self.local_steps // method.period)
        return rounds * method.period + (_POST_LOCAL_LEAD if method.kind == "post-local" else 0)

    def limit_s(self, method: Method) -> float:
        """Seconds after which a method in lock-step ends."""
        return self.ddp_s if method.kind == "ddp" else self.lock_step_s


@dataclass(frozen=True)
class Trial:
    """A link and how long to run on it."""

    link: LinkSetting
    length: Length


_LONG = Length(lock_step_steps=120, lock_step_s=150, ddp_s=240, local_steps=208, look_steps=10)
_SHORT = Length(lock_step_steps=60, lock_step_s=60, ddp_s=60, local_steps=60, look_steps=None)
TRIALS = (
    Trial(LinkSetting(100, 30), _LONG),
    Trial(LinkSetting(20, 30), _SHORT),
    Trial(LinkSetting(100, 200), _SHORT),
)


@dataclass(frozen=True)
class Contestant:
    """A method of the loss stage, with its inner optimizer and learning rate."""

    label: str
    method: Method
    optimizer: Literal["adamw", "muon"]
    lr: float


SYNC_ADAMW, SYNC_MUON = "AdamW, synchronous", "Muon, synchronous"
THIS_MUON, THIS_ADAMW = "this: Muon, H=50 int4 tau=3", "this: AdamW, H=50 int4 tau=3"
TORCHFT_ADAMW = "torchft DiLoCo: AdamW, H=50"
_ADAMW_LR, _MUON_LR = 1.5e-3, 3e-3
# At 100 Mbit/s a frame of 4 bits of the speed stage's model travels for about a step; three leave room.
_THIS_50 = Method(name="this, H=50 int4", kind="isthmus", period=50, overlap_steps=3, bits=4)
_TORCHFT_50 = Method(name="torchft DiLoCo, H=50", kind="torchft", period=50)


@dataclass(frozen=True)
class Menu:
    """All that a run of the benchmark measures."""

    speed: Task
    trials: Sequence[Trial]
    methods: Sequence[Method]  # on every link
    loss: Task
    contestants: Sequence[Contestant]

    def filtered(self, methods: Sequence[str], links: Sequence[str]) -> "Menu":
        """Only methods and links whose names contain one of the words."""
        return replace(
            self,
            trials=[trial for trial in self.trials if any(word in str(trial.link) for word in links)],
            methods=[method for method in self.methods if any(word in method.name for word in methods)],
            contestants=[one for one in self.contestants if any(word in one.label for word in methods)],
        )


FULL = Menu(
    speed=SPEED,
    trials=TRIALS,
    methods=(THIS_LONG, THIS_SHORT, DDP, FP16, POWERSGD, POST_LOCAL, TORCHFT, TORCHFT_BUCKET),
    loss=LOSS,
    contestants=(
        Contestant(SYNC_ADAMW, DDP, "adamw", _ADAMW_LR),
        Contestant(SYNC_MUON, DDP, "muon", _MUON_LR),
        Contestant(THIS_MUON, _THIS_50, "muon", _MUON_LR),
        Contestant(THIS_ADAMW, _THIS_50, "adamw", _ADAMW_LR),
        # with the outer settings of its own tests, which are the paper's
        Contestant(TORCHFT_ADAMW, _TORCHFT_50, "adamw", _ADAMW_LR),
    ),
)

_QUICK_THIS = Method(name="this, H=5 int4", kind="isthmus", period=5, overlap_steps=2, bits=4)
_QUICK_TORCHFT = Method(name="torchft DiLoCo, H=5", kind="torchft", period=5)
_QUICK_LENGTH = Length(lock_step_steps=10, lock_step_s=20, ddp_s=20, local_steps=15, look_steps=5)
QUICK = Menu(
    speed=SPEED.model_copy(update={"model": SPEED.model | {"n_embd": 64, "n_layer": 2, "n_head": 2}}),
    trials=(Trial(LinkSetting(100, 30), _QUICK_LENGTH),),
    methods=(_QUICK_THIS, DDP, _QUICK_TORCHFT),
    loss=LOSS.model_copy(update={"steps": 20, "validation_windows": 16}),
    contestants=(
        Contestant(SYNC_MUON, DDP, "muon", _MUON_LR),
        Contestant(_QUICK_THIS.name, _QUICK_THIS, "muon", _MUON_LR),
    ),
)
